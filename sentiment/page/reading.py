"""A prediction as HTML: the curve of the probability, and the words, colored by their effect."""

from html import escape

from sentiment.page.networks import Reading

LARGE_CHANGE = 0.03  # of the probability: it is printed below the word
LABELED_WORDS = 25  # more words don't fit below the curve
SHOWN_CHARACTERS = 60  # of a word
# Messages that the page shares with the scripts may name one of these.
SCRIPT_OF_OPTION = {"--layers": "predict.py", "--data": "evaluate.py"}


def render_error(message: object) -> str:
    """Return a message as HTML."""
    text = str(message)
    for option, script in SCRIPT_OF_OPTION.items():
        if option in text:
            text += f"; {option} is an option of {script}"
    return f'<p class="error" role="alert">{escape(text)}</p>'


def render_reading(name: str, about: str, label: str, note: str, reading: Reading) -> str:
    """Return a prediction as HTML: label, probability, curve and words.

    Args:
        name: the name of the run.
        about: what is to be known of it.
        label: the predicted label.
        note: what makes it doubtful, or an empty string.
        reading: the prediction.
    """
    probability = reading.probabilities[-1]
    parts = [
        f"<h3>{escape(name)}</h3>",
        f'<p class="verdict"><b class="{label}">{label}</b>, probability of positive ',
        f"<b>{probability:.1%}</b>",
        f" ({escape(note)})</p>" if note else "</p>",
    ]
    if reading.left_out:
        parts.append(
            f"<p>The network reads the last {len(reading.words):,} of "
            f"{len(reading.words) + reading.left_out:,} words.</p>"
        )
    if reading.changes is None:
        parts.append("<p>The review is too long to show the effect of each word.</p>")
    else:
        shown = map(_shorten, reading.words)
        steps = list(zip(shown, reading.probabilities, reading.changes, strict=True))
        words = " ".join(_render_word(*step) for step in steps)
        parts.append(_render_curve(steps, reading.left_out))
        parts.append(f'<p class="words" dir="auto">{words}</p>')
    parts.append(f'<p class="about">{escape(about)}</p>')
    return "".join(parts)


def _render_word(word: str, probability: float, change: float) -> str:
    below = f"<small>{_points(change, 0)}</small>" if abs(change) >= LARGE_CHANGE else ""
    # The square root makes small changes visible, too.
    strength = f"{min(abs(float(change)) ** 0.5, 1):.2f}"
    return (
        f'<span class="{_direction(change)}" style="--strength:{strength}" '
        f'title="{_describe(word, probability, change)}">{escape(word)}{below}</span>'
    )


def _render_curve(steps: list[tuple[str, float, float]], left_out: int) -> str:
    """Return the probability after each word as a line, and the changes as bars."""
    bars, line = [], []
    for i, (word, probability, change) in enumerate(steps):
        after = 100 * (1 - probability)  # the y-axis of an SVG points down
        top, height = min(after, after + 100 * change), abs(100 * change)
        bars.append(
            f"<g><title>{_describe(word, probability, change)}</title>"
            f'<rect class="{_direction(change)}" x="{i}" y="{top:.2f}" width="1" '
            f'height="{height:.2f}"/><rect class="step" x="{i}" y="0" width="1" height="100"/></g>'
        )
        line.append(f"H{i} V{after:.2f} H{i + 1}" if i else f"M0 {after:.2f} H1")
    if len(steps) <= LABELED_WORDS:
        below = "".join(f"<span>{escape(word)}</span>" for word, _, _ in steps)
        below = f'<div class="labels words-below">{below}</div>'
    else:
        first, last = left_out + 1, left_out + len(steps)
        below = f'<div class="labels"><span>word {first:,}</span><span>word {last:,}</span></div>'
    return (
        '<div class="curve"><div class="caption">Probability of positive after each word</div>'
        '<div class="scale"><span>100%</span><span>50%</span><span>0%</span></div>'
        f'<svg viewBox="0 0 {len(steps)} 100" preserveAspectRatio="none" role="img" '
        'aria-label="Probability of positive after each word">'
        f'<path class="grid" d="M0 0 H{len(steps)} M0 50 H{len(steps)} M0 100 H{len(steps)}"/>'
        f'{"".join(bars)}<path class="line" d="{" ".join(line)}"/></svg>{below}</div>'
    )


def _describe(word: str, probability: float, change: float) -> str:
    return escape(f"{word}: {_points(change, 1)} points, then {probability:.1%}")


def _shorten(word: str) -> str:
    return word if len(word) <= SHOWN_CHARACTERS else word[:SHOWN_CHARACTERS] + "…"


def _direction(change: float) -> str:
    return "up" if change > 0 else "down"


def _points(change: float, digits: int) -> str:
    """Return a change of a probability in percentage points."""
    return f"{100 * change:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
