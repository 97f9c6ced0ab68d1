"""What page.py shows, without Gradio's components, and the server that shows it.

networks.py    the runs to choose from, and their networks, loaded once for all visitors
reading.py     a review's words, colored by their effect, and the curve of its probability
examples.py    reviews to begin with
comparison.py  the curves of runs, and the table to sort
mistakes.py    the table of misclassified reviews
server.py      the server, which fetches nothing from elsewhere
style.css      colors, in light and dark mode
"""
