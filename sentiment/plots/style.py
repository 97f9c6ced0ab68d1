"""What all plots have in common."""

# The color-blind safe palette of Okabe and Ito, with gray instead of its yellow, which is hard to
# see on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
