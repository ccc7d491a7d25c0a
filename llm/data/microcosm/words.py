"""The words of the microcosm: everything its texts can say, in plain lower-case English (and a little French).

Only lists live here; who is what colour, and which sentences are made of them, is decided in `world`, `documents` and `chat`.
A world has the first animals, nouns, adjectives and verbs of the lists, as many as its size says.
"""

from typing import TypeVar

from .size import FIRST, Size

Entry = TypeVar("Entry")

PEOPLE = (
    "tom anna peter mary james lucy henry alice george emma frank clara david helen martin julia oscar nora simon rosa "
    "walter irene arthur sarah victor laura edgar diana felix grace hugo sophie leon marie oliver ruth paul eva carl jane"
).split()

ANIMALS = (
    "fox wolf bear lion tiger zebra horse donkey camel goat sheep cow pig rabbit hare squirrel beaver otter badger mole "
    "deer moose elk bison buffalo giraffe elephant rhino hippo monkey gorilla panda koala kangaroo wombat lizard gecko "
    "turtle frog toad newt crocodile cobra viper python eagle hawk falcon owl raven crow magpie robin sparrow finch "
    "swallow swan goose duck heron stork crane pelican penguin parrot pigeon dove turkey peacock ostrich emu salmon "
    "trout carp tuna shark whale dolphin seal walrus crab lobster shrimp squid octopus snail spider beetle ant wasp "
    "moth hornet cricket mosquito locust leopard jaguar puma lynx hyena jackal "
    # larger worlds go on from here
    "alpaca llama yak bull oxen mule pony colt lamb ram ewe kid chicken rooster hen goshawk buzzard vulture condor osprey "
    "kestrel harrier merlin kite cuckoo lark thrush starling wren warbler oriole bunting siskin linnet waxwing swift jay jackdaw rook "
    "gull tern puffin cormorant gannet albatross petrel loon grebe coot moorhen rail plover lapwing sandpiper curlew snipe "
    "flamingo ibis egret bittern quail partridge pheasant grouse kiwi toucan hornbill kingfisher hoopoe hummingbird nightingale "
    "macaw cockatoo lorikeet perch pike herring sardine anchovy mackerel cod haddock halibut flounder sole turbot plaice "
    "sturgeon eel catfish minnow tench bream roach gudgeon marlin swordfish barracuda piranha guppy manta stingray "
    "porpoise orca narwhal beluga manatee dugong otary platypus echidna wallaby possum opossum raccoon skunk weasel stoat marten "
    "ferret mink wolverine mongoose meerkat civet genet ocelot serval caracal cheetah cougar bobcat dingo coyote ape baboon mandrill "
    "macaque lemur loris tarsier gibbon chimpanzee bonobo sloth anteater armadillo pangolin aardvark tapir okapi gazelle "
    "impala antelope oryx kudu eland gnu ibex chamois reindeer caribou lemming dormouse hamster gerbil chinchilla "
    "porcupine hedgehog shrew bat iguana chameleon skink monitor tortoise terrapin alligator caiman adder boa anaconda "
    "salamander axolotl oyster mussel clam scallop limpet cuttlefish nautilus jellyfish starfish urchin leech scorpion mite tick "
    "dragonfly mayfly grasshopper mantis aphid cicada firefly ladybird bumblebee butterfly caterpillar centipede"
).split()

# What may be said of an animal: relation -> its possible values.
FACTS = {
    "color": "red blue green yellow purple orange pink brown black white gray golden".split(),
    "food": "rice bread cheese honey soup corn beans nuts salad pasta eggs butter".split(),
    "home": "forest desert valley island harbor village palace cave meadow swamp garden castle".split(),
    "sport": "tennis chess golf rugby boxing rowing skiing hockey judo polo sailing running".split(),
}

# What may be said of a person in a passage: relation -> (modifiers, nouns); a value is one of each.
BELONGINGS = {
    "pets": ("small wild tame old spotted noisy".split(), "dogs cats birds ponies mice snakes".split()),
    "tools": ("rusty sharp heavy wooden broken sturdy".split(), "hammers saws brushes knives ropes ladders".split()),
    "toys": ("shiny soft painted tiny plastic squeaky".split(), "balls kites dolls drums trains puzzles".split()),
    "gifts": ("strange cheap fancy precious secret antique".split(), "rings books lamps clocks cakes coats".split()),
    "fruits": ("ripe sour juicy fresh dried frozen".split(), "apples pears plums grapes melons cherries".split()),
    "shoes": (
        "muddy leather woolen worn pointed elegant".split(),
        "boots sandals slippers sneakers clogs skates".split(),
    ),
}


def _table(text: str) -> dict[str, list[str]]:
    """Comma-separated entries "key value value ..."."""
    return {key: values for key, *values in map(str.split, text.split(","))}


# French -> English, invariable masculine forms, written without accents.
NOUNS = {
    french: english
    for french, (english,) in _table(
        "chien dog, chat cat, roi king, soldat soldier, voisin neighbor, fermier farmer, enfant child, pain loaf, livre book, "
        "cheval stallion, bateau boat, couteau knife, gateau cake, manteau coat, marchand merchant, peintre painter, "
        "facteur postman, miroir mirror, panier basket, tableau painting, "
        # larger worlds go on from here
        "berger shepherd, boucher butcher, boulanger baker, pecheur fisherman, chasseur hunter, jardinier gardener, "
        "juge judge, moine monk, comte count, corsaire corsair, voleur thief, geant giant, tonneau barrel, marteau mallet, chariot wagon, "
        "escalier staircase, fauteuil armchair, rideau curtain, coffre chest, collier necklace, parapluie umbrella, stylo pen, "
        "cahier notebook, sac bag, seau bucket, drapeau flag, tapis carpet, lit bed, mur wall, pont bridge"
    ).items()
}
ADJECTIVES = {
    french: english
    for french, (english,) in _table(
        "petit little, grand tall, jeune young, vieux ancient, triste sad, rapide fast, lent slow, pauvre poor, riche rich, "
        "sale dirty, propre clean, sombre dark, "
        # larger worlds go on from here
        "lourd weighty, leger light, froid cold, chaud warm, mouille wet, sec arid, calme calm, sage wise, maigre thin, "
        "gros fat, nouveau new, rond round"
    ).items()
}
# French -> (third person, base form)
VERBS = {
    french: (third, base)
    for french, (third, base) in _table(
        "voit sees see, cherche seeks seek, trouve finds find, porte carries carry, achete buys buy, vend sells sell, "
        "garde keeps keep, perd loses lose, casse breaks break, regarde watches watch, "
        # larger worlds go on from here
        "tire pulls pull, pousse pushes push, cache hides hide, montre shows show, lave washes wash, lance throws throw, "
        "touche touches touch, vole steals steal, peint paints paint, dessine draws draw"
    ).items()
}
ARTICLES = {"le": "the", "un": "a"}
# The extra parts of a clause: who owns a thing, and where something happens.
OWNER = ("de", "'s")
PLACES = {"devant": "before", "derriere": "behind", "sous": "under", "sur": "upon", "contre": "against"}

# Small talk: topic -> words that belong to it.
TOPICS = _table(
    "music song piano melody, cooking kitchen recipe oven, travel journey ticket luggage, weather rain cloud storm, "
    "school teacher lesson pupil, history empire battle century, science theory experiment atom, cinema film actor screen, "
    "painting canvas brush portrait, gardening flower seed rose, football goal player stadium, money bank coin price, "
    "health doctor medicine sleep, space planet rocket star, farming field harvest tractor, fashion dress fabric style, "
    "reading novel chapter poem, winter snow ice sledge, summer beach sun sand, work office boss salary, "
    "family mother uncle cousin, trains station track engine, fishing river net hook, dancing waltz partner rhythm"
)
GOOD = "happy glad kind lovely wonderful great pleasant welcome brilliant sweet".split()
RUDE = "stupid boring awful ugly lazy dull useless horrible annoying rotten".split()

SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>", "<user>", "<assistant>"]
GRAMMAR = (
    ". , ? ! : so the of is are what a an and not does it i you we my your me to in about with for that this there "
    "question answer passage french english means say again words color which tell can could please let know want hear "
    "think do like likes friend have has much every many people well thing day one never always also often would who "
    "goes something say here which from be am please help thanks ask asking here course sure hope helps talk go away was were really seem seems how "
    "nothing else matters will see came told us give put into how call wonder short quick mind reply listen"
).split()


def first(table: dict[str, Entry], count: int) -> dict[str, Entry]:
    """The first entries of a table: those that a world of that many has."""
    return dict(list(table.items())[:count])


def vocabulary(size: Size = FIRST) -> list[str]:
    """Every word of a world once, special tokens first, in a fixed order (the token ids)."""
    words: list[str] = list(SPECIAL) + GRAMMAR + PEOPLE + ANIMALS[: size.animals]
    for table in (FACTS, TOPICS):
        for key, values in table.items():
            words += [key, *values]
    for relation, (modifiers, nouns) in BELONGINGS.items():
        words += [relation, *modifiers, *nouns]
    words += GOOD + RUDE
    for translated in (first(NOUNS, size.nouns), first(ADJECTIVES, size.adjectives), ARTICLES):
        for french, english in translated.items():
            words += [french, english]
    words += ["ne", "pas"]
    for french, (third, base) in first(VERBS, size.verbs).items():
        words += [french, third, base]
    if size.has_extras:
        words += [*OWNER, *PLACES, *PLACES.values()]
    return list(dict.fromkeys(words))
