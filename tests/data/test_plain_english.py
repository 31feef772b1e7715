"""Plain English costs few tokens, in words that no recipe says, too."""

import pytest

from kinema.card.load import load_card
from kinema.card.prompt import prompt
from kinema.data.text import VOCAB_SIZE, TextTokenizer

# Written before there was a list of words.
INSTRUCTIONS = (
    "Please walk over to the kitchen counter and look for the small white cup that stands behind the "
    "kettle. Pick it up by its handle, carry it slowly to the sink without spilling anything, and rinse "
    "it under warm water. When you are done, dry it with the towel that hangs on the oven door and put it "
    "back where",
    "There are several toys on the carpet in front of the sofa. Collect all of the wooden ones first and "
    "drop them into the basket near the window, then take the soft animals and arrange them on the bed. "
    "Leave the train tracks exactly as they are, because my daughter has not finished building yet and "
    "would be upset otherwise",
    "Open the second drawer from the top, take out a clean fork and a knife, and lay them next to the "
    "round plate on the dining table. If there is no fork left, use a spoon from the dishwasher instead. "
    "Close the drawer gently afterwards, fold one of the paper napkins in half, and slide it under the "
    "fork for",
    "I need help sorting the laundry. Separate the dark shirts from the light ones, make two piles on the "
    "floor, and check every pocket for coins or keys before you continue. Socks belong in the blue bag, "
    "whatever their color. When both piles are ready, bring the dark one to the washing machine and wait "
    "there until I come downstairs",
    "Move the heavy box away from the doorway so that people can get through, but do not lift it higher "
    "than your knee. Turn it around until the label faces the wall, then stack the three smaller boxes on "
    "top of it with the largest at the bottom. Stop immediately if anything begins to tip over or "
    "somebody walks past",
    "The lamp on my desk is too far from the keyboard. Push it about ten centimeters to the left, tilt "
    "the shade down a little, and press the switch at the back of the base. After that, gather the loose "
    "papers, tap their edges together, and slip them into the green folder lying beside the monitor, with "
    "the newest page",
    "Water the plants on the balcony this morning, starting with the tall one in the corner. Give each of "
    "them roughly half a glass, except the cactus, which only needs a few drops. Remove any yellow leaves "
    "that you notice and throw them in the compost bin. Finally, wipe the wet spots from the tiles so "
    "that nobody slips when",
    "Before guests arrive, set out six glasses in a straight line along the edge of the shelf, leaving a "
    "finger of space between them. Fill a bowl with nuts from the jar in the cupboard and another with "
    "olives. Keep the bowls apart, since one visitor is allergic to nuts, and place a small spoon in each "
    "so everyone can",
    "Take the screwdriver out of the toolbox and tighten the four screws that hold the chair together, "
    "going around twice. Hold the leg steady with your other hand while you turn, and never force a screw "
    "that will not move. If a screw is missing, there are spare ones in the tin beneath the bench, sorted "
    "by length inside little",
    "Make me a sandwich with the bread that is left in the bag. Spread butter thinly on both slices, add "
    "cheese, two pieces of tomato and some salad, and cut it across the middle. Put it on a plate, cover "
    "it so that it stays fresh, and carry it carefully to the table by the fireplace, where I will be",
)
RECIPES = (
    ("put the red block in the blue bowl", "open the drawer", "press the green button"),
    ("reach the goal", "assemble the nut on the peg", "turn the dial by half a turn", "shoot the puck"),
)
UNSEEN = "colander thermometer accordion chandelier wheelbarrow escalator pomegranate repositioning"


@pytest.fixture(scope="module", params=RECIPES)
def tokenizer(request: pytest.FixtureRequest) -> TextTokenizer:
    return TextTokenizer.train([prompt(load_card("panda"), text, 16) for text in request.param])


def test_sixty_words_of_plain_english_are_at_most_ninety_six_tokens(tokenizer: TextTokenizer) -> None:
    assert len(INSTRUCTIONS) == 10
    for text in INSTRUCTIONS:
        assert len(text.split()) == 60
        assert len(tokenizer.encode(text)) <= 96, text
        assert tokenizer.decode(tokenizer.encode(text)) == text
        tokenizer.encode(prompt(load_card("panda"), text, 16))  # and the whole prompt is read


def test_words_that_nobody_listed_are_not_spelled(tokenizer: TextTokenizer) -> None:
    for word in UNSEEN.split():
        assert len(tokenizer.encode(f" {word}")) < 0.7 * len(word)


def test_the_vocabulary_is_as_small_as_asked(tokenizer: TextTokenizer) -> None:
    assert tokenizer.vocab_size <= VOCAB_SIZE
    assert TextTokenizer.train(["put the block in the bowl"], 400).vocab_size <= 400
