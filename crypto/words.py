"""Words: the 1,024 words of pairing codes, and how a typed code is read.

A code is three words, 30 bits, such as `amber-clock-river`. Four letters name a word, so a person
may type `ambe cloc rive`, in any case, with spaces or hyphens; there is one normal form, and only
that enters the key exchange. A word outside the list is refused here, on the device where it was
typed, so that a slip of the keyboard does not burn a code.

The words are English, 4 to 8 letters, distinct in their first four; none is the beginning of
another. They were written for this list.

A code lives five minutes and is worth one guess (docs/protocol.md, section 6). Nothing here draws
randomness: `draw(n)` gives n fresh bytes.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from difflib import get_close_matches

from .errors import FormatError

CODE_WORDS = 3
CODE_CHARACTERS_MAX = 100  # as typed
PREFIX_LETTERS_MIN = 4  # fewer letters name no word, even if only one begins so
_SHOWN_LETTERS_MAX = 20

_LIST = """
acorn agate airport alarm alder almond alpaca alphabet alpine amber amulet anchor animal ankle
anthem anvil apple apricot apron aquarium arbor arcade archer arena armchair armor arrow aspen
aster athlete atlas attic audio aurora autumn avatar avenue avocado awning azure baboon badge
bagel baker balcony ballad bamboo banana banjo banner barber barge barley barn barrel basil basket
bassoon bathtub beacon bead beagle beanbag beaver beech beetle bicycle birch biscuit bison blanket
blazer blender blizzard blossom blouse bluebell bobcat bonfire bongo bonnet bookcase boot bottle
bouquet bowtie bracelet braid bramble branch breeze brick bridge broccoli bronze brook brush
bubble bucket buffalo bugle builder bulldog bundle burrow butter cabbage cabin cable cactus cake
calendar camel camper canal candle canoe canteen canyon captain caramel caribou carpet carrot
cashew castle cattle cavern cedar celery cellar chalk chamber charcoal cheese cherry chess chicken
chimney chipmunk chowder cider cinnamon circle citrus city clam clarinet cliff clock clover coach
cobalt cobbler cobra cobweb cocoa coffee coin collie comb comet compass cookie copper cottage
cougar coyote cradle crane crayon cream cricket crimson crow crumpet crystal cube cuckoo cucumber
cupboard cupcake curry curtain cushion custard cypress daffodil dairy daisy dancer dawn dazzle
delta desk diamond diary dice dingo dinner diver doll dolphin domino donkey donut doorbell
dormouse dove dragon drawer dream drift driver drum duck dulcimer dumpling dune dusk dustbin eagle
earring earthy easel east echo eclair eclipse eggplant elbow elder elegant elephant elkhorn ember
emblem emerald envelope equator espresso evening explorer eyebrow fairy falcon farmer feast
feather fennel fern ferry festival fiber fiddle field fiesta finch finger firefly fisher flag
flame flapjack flask fleece flint flipper florist fluffy flute foam folder football forest fork
fossil fountain foxglove frog frost fruit fudge funnel gadget galaxy gallery garage garden garlic
garnet gazelle gecko gemstone gentle geranium geyser giant ginger giraffe glacier glass gleam
glider glitter globe glove glue goat goblet goggles golden gondola goose gopher gorilla gourd
granite grape gravity green griffin grill grotto grouse grove guava guitar guppy gymnast hallway
halo hammer hamster hangar happy harbor harmony harness harp harvest hatchet haven hawk haystack
hazel heart hedge helmet herald heron hiking hill hippo hive hockey holiday honey hood hoop
horizon hornet house humble hummus hyacinth hyena ibis iceberg icicle icing icon igloo iguana
indigo indoor inkwell insect iris iron island ivory jacket jade jaguar jasmine jasper javelin jazz
jelly jersey jewel jigsaw jingle joker jolly jovial jubilant juice jumper jungle juniper jute kale
kangaroo karate kayak kazoo kebab keepsake kelp kennel kestrel ketchup kettle keyboard keyring
kilt kindle kiosk kitchen kite kitten kiwi knapsack koala kumquat lace ladder ladle ladybug lagoon
lake lamp lantern laptop larch laser lasso laundry laurel lava lavender lawn leather lemon lentil
leopard letter library lilac lily lime linen lion lively lizard llama lobby lobster locket lodge
lofty lollipop lotus lucky lunar lunch lupine macaroni machine magenta magic magnet magpie
mahogany mailbox mallet mammoth mandolin mango mantis maple marble march marigold market marmot
marsh mascot meadow medal mellow melody memory menu meringue mermaid metal meteor midnight mill
mimosa minnow mint miracle mirror mitten moat mocha monarch monkey month morning mosaic moss
mountain mouse movie muesli muffin mulberry mule mural museum mushroom music myrtle mystery nachos
napkin narwhal nebula necklace nectar needle neighbor nest network newt nibble nickel nightcap
nimble noble nomad noodle noon north notebook novel nugget nutmeg oasis oatcake oatmeal obelisk
oboe observer ocean octopus olive omelet onion onyx opal opera optician oracle orange orbit
orchard oregano organ origami osprey ostrich otter outdoor outlet oven overcoat oxcart oyster
ozone packet paddle padlock pagoda painter palace palm pamphlet pancake panda panel panorama
panther papaya paper paprika papyrus parade parcel park parrot parsley passport pasta patch patio
pavement peach peanut pearl pebble pecan pegasus pelican pencil pendant penguin peony pepper
perfume petunia photo piano pickle picnic picture pigeon pillow pilot pine pink pipe pivot pizza
plaid planet platypus plaza plum plywood pocket poem poet polar polka pollen pond pony popcorn
poplar poppy porch portrait postcard potato pottery poultry powder prairie pretzel primrose prince
prism prize pudding puffin pulley pulp puma pumpkin puppet purple puzzle pyjama pyramid python
quail quarter queen quest quiet quill quince quiver quiz rabbit raccoon radio raft railway rainbow
raisin ramp ranch ranger rapid rattle raven ravioli razor recipe redwood reef reindeer rhino
rhubarb ribbon rice riddle ridge ripple river roast robin robot rocket rodeo roller roof rooster
rope rosemary royal ruby rucksack rudder rugby rustic sable saddle safari saffron saga sailor
salad salmon saloon salute sample sandal sapphire sardine satchel satin saucer sauna sawdust
sawmill scallop scarf scissors scone scooter scorpion scout screen scroll seagull season seaweed
seed sequoia sesame shadow shampoo shark shawl shed sheep shelf shepherd sherbet shield shimmer
shipyard shirt shore shovel shower shrimp shuttle silver simmer singer sketch skillet sled sleeve
sleigh slope smile smoke smooth snail snapper sneaker snorkel snow soap soccer socket sofa solar
sonnet sorbet soup soybean space spade spaniel sparrow sphere sphinx spice spider spinach spiral
splash sponge spoon spring sprout spruce squash squid stamp staple starfish statue steamer steeple
stereo stone storm stove straw stroll strudel suburb sugar summer sundial sunset surfer swallow
swan sweater swift swimmer swing sycamore symphony table tadpole tamarind tango tankard tapestry
taxi teacher teapot teaspoon tempo tennis tent thatch theater thermos thicket thimble thistle
thorn thread thrush thunder tiara ticket tiddler tiger timber toast toboggan toffee tomato tonic
toolbox topaz torch tornado tortoise toucan towel town tractor traffic trail tram travel treasure
tree trellis triangle tricycle trident trinket trolley trombone trousers trowel truck truffle
trumpet trunk tuba tugboat tulip tumble tundra tunnel turbine turkey turnip turret turtle tweezers
twilight twin twist typhoon ukulele umbrella unicorn unlock unpack upbeat upstream urchin valley
vanilla vase vault vehicle velvet veranda vest vibrant video village vineyard vintage violin
vitamin vivid volcano volley voyage vulture waffle wagon waiter walker wallet walnut walrus waltz
wander warbler wardrobe water waxwing weasel weaver wedding weekend welcome west wheat wheel
whistle wicker widget wiggle wildcat willow window winner winter wishbone wizard wolf wombat
wonder wooden wool workshop wreath wren wrist yacht yard yarn yarrow yeast yellow yodel yoga
yogurt young yucca zebra zenith zephyr zeppelin zigzag zinc zipper zither zodiac zoom
"""

WORDS: tuple[str, ...] = tuple(_LIST.split())
_BITS = 10
assert len(WORDS) == 1 << _BITS

# The hyphens and dashes that keyboards and word processors put in place of one another.
_SEPARATORS = re.compile(r"[\s\-\u2010-\u2015\u2212]+")


def make_code(draw: Callable[[int], bytes]) -> str:
    """Return a fresh code in its normal form. Draws 4 bytes; every code is equally likely."""
    drawn = int.from_bytes(draw(4), "big")
    mask = len(WORDS) - 1
    return "-".join(WORDS[drawn >> _BITS * at & mask] for at in range(CODE_WORDS))


def normalise_code(text: str) -> str:
    """Return the normal form of a code that a person typed: lower case, joined by hyphens.

    A word may be shortened to four letters or more.

    Raises: FormatError, which names the word that is not in the list and the nearest one that is.
    """
    if len(text) > CODE_CHARACTERS_MAX:
        raise FormatError(
            f"a code has three words; this text has {len(text)} characters,"
            f" {CODE_CHARACTERS_MAX} allowed"
        )
    typed = [part for part in _SEPARATORS.split(text.lower()) if part]
    words = [_word(part) for part in typed]
    if len(words) != CODE_WORDS:
        raise FormatError(
            f"a code has {CODE_WORDS} words, got {len(words)}: like amber-clock-river"
        )
    return "-".join(words)


def complete_word(prefix: str) -> list[str]:
    """Return the words that begin with `prefix`, in any case, sorted. All if it is empty."""
    start = prefix.lower()
    at = bisect_left(WORDS, start)
    found = []
    while at < len(WORDS) and WORDS[at].startswith(start):
        found.append(WORDS[at])
        at += 1
    return found


def _word(typed: str) -> str:
    completions = complete_word(typed)
    if typed in completions:
        return typed
    # One at most, since the first four letters are distinct.
    if len(typed) >= PREFIX_LETTERS_MIN and completions:
        return completions[0]
    shown = typed[:_SHOWN_LETTERS_MAX]
    nearest = completions or get_close_matches(shown, WORDS, n=1, cutoff=0.0)
    if not (shown.isascii() and shown.isalnum()):
        shown = ascii(shown)
    raise FormatError(f"{shown} is not a word of pairing codes; did you mean {nearest[0]}?")
