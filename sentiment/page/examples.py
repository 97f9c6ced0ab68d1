"""Reviews to begin with, written for this project."""

EXAMPLES = {
    "negated": "Not a bad film at all, but the ending is a mess.",
    "short": "Not bad.",
    "positive": "A wonderful film, superb from beginning to end. I would see it again tomorrow.",
    "negative": "Two hours of clichés, wooden acting and a plot that goes nowhere. What a waste.",
    "mixed": "The photography is beautiful and the music haunting, which makes it all the more "
    "disappointing that nobody in it has anything to say.",
    "long": "I went to see this with low expectations. The trailer promised one more heist "
    "movie with a clever crew, a cruel villain and a twist that everyone sees coming. For the "
    "first half hour I got just that, and I was bored. The jokes are old, the dialogue is flat, "
    "and the editing is so hectic that I had no idea who was chasing whom. Then the heist goes "
    "wrong, and the film slows down and becomes something else. The five of them are stuck in a "
    "closed museum for a night, and they begin to talk. The old forger, played with great "
    "tenderness, tells how she lost her sight, and the driver admits that he never wanted to be "
    "there. Not one of these scenes is loud, and none is wasted. By the end I cared about all "
    "of them. It is a pity that so many people will have walked out before it gets good, "
    "because the second half is one of the best things I have seen this year.",
}
