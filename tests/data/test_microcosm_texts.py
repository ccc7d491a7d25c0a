"""What the microcosm says: within its vocabulary, read alike by both encoders, and never about held-out things."""

import re
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest

from llm.config import load_preset, names
from llm.data.microcosm import words
from llm.data.microcosm.size import FIRST, Size, Texts
from llm.data.microcosm.source import KINDS, Microcosm
from llm.data.microcosm.texts import statement, translation
from llm.data.microcosm.tokenizer import build_tokenizer, encode, word_ids
from llm.data.microcosm.world import World
from llm.models.chat import imitation_batch, imitation_example, prompt_ids, reply_ids
from llm.models.loading import load_tokenizer
from llm.models.save import save_model
from microcosm_runs import second_size, tiny_model

SOURCES = {"first, 0": Microcosm(0), "first, 7": Microcosm(7), "second, 0": Microcosm(0, second_size())}
DRAWS = 250
MIXTURE = dict.fromkeys(KINDS["prompt"], 1.0)


def training_texts(source: Microcosm) -> dict[str, list[str]]:
    """kind -> texts that pre-training, instruction tuning, the reward model or RSF may read."""
    rng = np.random.default_rng(source.seed)
    texts = {}
    for kind in KINDS["document"]:
        documents = (source.document(kind, rng) for _ in range(DRAWS))
        texts[f"document {kind}"] = [" ".join(text for text, _ in document) for document in documents]
    for kind in KINDS["conversation"]:
        talks = (source.conversation(kind, rng) for _ in range(DRAWS))
        texts[f"conversation {kind}"] = [f"{talk.prompt} {talk.reply}" for talk in talks]
    for kind in KINDS["prompt"]:
        prompts = source.prompts("train", {kind: 1.0}, DRAWS, rng)
        texts[f"prompt {kind}"] = [f"{prompt.text} {source.written_reply(prompt, rng)}" for prompt in prompts]
    return texts


@pytest.fixture(scope="module")
def texts():
    return {name: training_texts(source) for name, source in SOURCES.items()}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """The tokenizer as it comes back from a saved model folder."""
    folder = tmp_path_factory.mktemp("tokenizer") / "model"
    save_model(tiny_model(), build_tokenizer(), folder)
    return load_tokenizer(folder)


def held_out_texts(source: Microcosm) -> list[str]:
    rng = np.random.default_rng(source.seed)
    counts = {"qa": 100, "reading": 100, "translation": 100}
    items = source.items("test", counts)
    said = [f"{item.prompt} {' '.join(item.choices)}" for item in items.qa]
    said += [f"{item.prompt} {item.reference}" for item in items.reading + items.translation]
    said += [guess for pairs in source.guesses("test", counts).values() for guess, _ in pairs]
    said += [prompt.text for prompt in source.prompts("test", MIXTURE, DRAWS, rng)]
    said += [f"{context} {answer}" for pairs in source.checks(50, rng).values() for context, answer in pairs]
    return said


@pytest.mark.parametrize("name", SOURCES)
def test_every_text_of_the_world_is_in_the_vocabulary(texts, name):
    known = set(words.vocabulary(SOURCES[name].size))
    for text in (*sum(texts[name].values(), []), *held_out_texts(SOURCES[name])):
        assert set(text.split()) <= known, text


@pytest.mark.parametrize("size", [FIRST, second_size()])
def test_every_word_has_one_id_and_the_special_ones_come_first(size):
    vocabulary = words.vocabulary(size)
    assert len(set(vocabulary)) == len(vocabulary)
    assert list(word_ids(size).values()) == list(range(len(vocabulary)))
    assert vocabulary[: len(words.SPECIAL)] == words.SPECIAL


def test_a_larger_world_adds_words_and_loses_none():
    largest = Size(len(words.ANIMALS), nouns=99, adjectives=99, verbs=99, items=Texts(extras=0.5))
    assert set(words.vocabulary()) < set(words.vocabulary(second_size())) < set(words.vocabulary(largest))
    french, english = [*words.NOUNS, *words.ADJECTIVES, *words.VERBS], set(words.PEOPLE) | set(words.GRAMMAR)
    assert len(set(french)) == len(french) and not {*french, *words.ANIMALS} & english
    assert all(len(group) == len(set(group)) for group in (words.PEOPLE, words.ANIMALS, words.GOOD, words.RUDE))


def test_the_fast_encoder_equals_the_saved_tokenizer_and_decoding_gives_the_text_back(texts, tokenizer):
    said = [text for group in texts["first, 0"].values() for text in group[:20]] + held_out_texts(Microcosm(0))[::10]
    for text in (*said, " ".join(words.vocabulary())):
        ids = encode(text)
        assert tokenizer.encode(text, add_special_tokens=False) == ids
        assert tokenizer.decode(ids) == text
    assert len(tokenizer) == len(words.vocabulary())


def test_the_fast_encoder_refuses_unknown_words_and_the_tokenizer_marks_them(tokenizer):
    with pytest.raises(KeyError):
        encode("the quokka")
    assert tokenizer.encode("the quokka", add_special_tokens=False)[1] == tokenizer.unk_token_id


def test_a_conversation_is_tokenized_as_the_chat_template_writes_it(tokenizer):
    prompt, reply = "can you tell tom about music ?", "music is about the song ."
    ids = prompt_ids(tokenizer, prompt) + reply_ids(tokenizer, reply)
    assert ids == encode(f"<bos> <user> {prompt} <assistant> {reply} <eos>")
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
    assert tokenizer.apply_chat_template(turns, return_dict=False) == ids
    assert reply_ids(tokenizer, reply, finished=False) == encode(reply)


def test_only_the_reply_is_learned_and_its_end_only_where_it_came_by_itself(tokenizer):
    prompt, reply = "can you tell tom about music ?", "music is about the song ."
    ids, weights = imitation_example(tokenizer, prompt, reply)
    assert weights == [0.0] * len(prompt_ids(tokenizer, prompt)) + [1.0] * 7
    assert tokenizer.decode(ids[-7:]) == f"{reply} <eos>"
    cut_ids, cut_weights = imitation_example(tokenizer, prompt, reply, finished=False)
    assert (cut_ids, cut_weights) == (ids[:-1], weights[:-1])
    batch = imitation_batch(tokenizer, [(prompt, reply, False), (prompt, reply)])
    assert batch.ids.tolist() == [[*cut_ids, tokenizer.pad_token_id], ids]
    assert batch.weights.tolist() == [[*cut_weights, 0.0], weights]


@pytest.mark.parametrize("name", [name for name in names("presets") if load_preset(name).data == "microcosm"])
def test_documents_fit_into_a_row_and_conversations_into_the_context(texts, name):
    preset = load_preset(name)
    sources = {world: source for world, source in SOURCES.items() if source.size == preset.world.size}
    texts = {world: texts[world] for world in sources}
    assert texts
    kinds = {f"document {kind}" for phase in preset.pretrain.phases for kind in phase.mixture}
    longest = max(len(text.split()) for by_kind in texts.values() for kind in kinds for text in by_kind[kind])
    assert longest + 1 <= preset.pretrain.row_length  # and <bos>
    prompts = [text for source in sources.values() for text in held_out_texts(source)]
    assert max(len(text.split()) for text in prompts) + 3 + preset.max_new_tokens <= preset.model.context


@pytest.mark.parametrize("name", SOURCES)
def test_each_split_is_whole_and_its_parts_share_nothing(name):
    world = SOURCES[name].world
    everything = {
        "belongings": {f"{m} {n}" for modifiers, nouns in words.BELONGINGS.values() for m in modifiers for n in nouns},
        "noun_phrases": {(noun, adjective) for noun in world.nouns for adjective in world.adjectives},
        "conversations": {(topic, person) for topic in words.TOPICS for person in words.PEOPLE},
        "animals": set(words.ANIMALS[: world.size.animals]),
    }
    for name, whole in everything.items():
        split = getattr(world, name)
        assert set(split) == {"train", "validation", "test"}
        parts = {key: values if name != "belongings" else sum(values.values(), []) for key, values in split.items()}
        assert set().union(*parts.values()) == whole
        assert sum(map(len, parts.values())) == len(whole)
        assert min(map(len, parts.values())) >= 0.09 * len(whole)
        assert len(parts["test"]) >= 0.15 * len(whole)


def bigrams(text: str) -> set[str]:
    said = text.split()
    return {f"{first} {second}" for first, second in zip(said, said[1:], strict=False)}


@pytest.mark.parametrize("name", SOURCES)
def test_held_out_pairs_of_modifiers_and_french_noun_phrases_never_occur_in_training(texts, name):
    """But for `copy` documents, lists of random words that say nothing about anyone, in which any words may meet."""
    world, held_out = SOURCES[name].world, set()
    for split in ("validation", "test"):
        held_out |= set(sum(world.belongings[split].values(), []))
        held_out |= {f"{noun} {adjective}" for noun, adjective in world.noun_phrases[split]}
        held_out |= {f"{words.ADJECTIVES[adj]} {words.NOUNS[noun]}" for noun, adj in world.noun_phrases[split]}
    for kind, said in texts[name].items():
        for text in said:
            if kind == "document copy":
                assert not {"are", "le", "un", "the", "a"} & set(text.split()), text
            else:
                assert not bigrams(text) & held_out, (kind, text)
    assert any(bigrams(text) & held_out for text in held_out_texts(SOURCES[name]))


@pytest.mark.parametrize("name", SOURCES)
def test_held_out_animals_are_told_about_in_training_but_never_asked_about(texts, name):
    source = SOURCES[name]
    world, silent = source.world, {"document copy", "document recall"}
    silent |= {"document declaration", "conversation declaration"}
    held_out = {*world.animals["validation"], *world.animals["test"]}
    for kind, said in texts[name].items():
        for text in said if kind not in silent else ():
            assert not set(text.split()) & held_out, (kind, text)
    declared, rng = set(), np.random.default_rng(1)
    for text in (" ".join(s.text for s in source.document("declaration", rng)) for _ in range(12_000)):
        assert "?" not in text
        declared |= set(text.split()) & held_out
    assert declared == held_out


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_declared_about_animals_is_what_the_test_calls_right(texts, name):
    world = SOURCES[name].world
    patterns = (r"the (\w+) of the (\w+) is (\w+)", r"so the (\w+) has the (\w+) (\w+)", r"(\w+) : (\w+) (\w+)")
    said = re.findall("|".join(patterns), " ".join(texts[name]["document declaration"]))
    assert len(said) == 3 * DRAWS
    for found in said:
        first, second, value = filter(None, found)
        animal, relation = (second, first) if first in words.FACTS else (first, second)
        assert world.facts[animal, relation] == value


@pytest.mark.parametrize("name", SOURCES)
def test_held_out_pairs_of_topic_and_person_never_meet_in_training(texts, name):
    held_out = set(SOURCES[name].world.conversations["test"])
    met, asked = 0, SOURCES[name].prompts("train", {"talk": 1.0}, DRAWS, np.random.default_rng(0))
    said_in = {kind: texts[name][kind] for kind in ("document dialogue", "conversation talk")}
    for kind, talks in (said_in | {"prompt talk": [prompt.text for prompt in asked]}).items():
        for text in talks:
            said = set(text.split())
            pairs = {(topic, person) for topic in said & set(words.TOPICS) for person in said & set(words.PEOPLE)}
            assert not pairs & held_out, (kind, text)
            met += len(pairs)
    assert met >= 3 * DRAWS


def test_the_same_seed_makes_the_same_world_and_another_seed_another(texts):
    assert World(3).facts == World(3).facts
    for name in ("facts", "animals", "belongings", "noun_phrases", "conversations"):
        assert getattr(World(3), name) != getattr(World(4), name)
    assert training_texts(Microcosm(0)) == texts["first, 0"] != texts["first, 7"]


NEW = ("reading_few", "phrases")  # documents and checks that the second world brought, the last ones of their tables
# SHA-256 of the first world's texts, seed 0, computed before worlds had sizes
BEFORE = {
    "words": "939052964ce7a28a",
    "items": "2d878e18bbdb04df",
    "guesses": "be47d2972d90ab13",
    "checks": "0fbc6504d6b3b128",
    "documents": "3e38a47a509514ec",
    "conversations": "a8c0ea760c58ff6e",
    "prompts": "3f7dfadaf87094fa",
}


def first_texts(what: str) -> list | dict:
    source, rng, counts = Microcosm(0), np.random.default_rng([0, 99]), {"qa": 60, "reading": 60, "translation": 60}
    if what == "words":
        return list(word_ids())
    if what == "items":
        return [(split, source.items(split, counts)) for split in ("test", "train")]
    if what == "guesses":
        return source.guesses("test", counts)
    if what == "checks":
        return {name: pairs for name, pairs in source.checks(20, rng).items() if name not in NEW}
    if what == "documents":
        documents = [source.document(kind, rng) for kind in KINDS["document"] if kind not in NEW for _ in range(20)]
        return [[(str(text), float(weight)) for text, weight in document] for document in documents]
    if what == "conversations":
        talks = [source.conversation(kind, rng) for kind in KINDS["conversation"] for _ in range(20)]
        return [(talk.prompt, talk.reply) for talk in talks]
    found = []
    for split in ("train", "test"):
        for p in source.prompts(split, {"talk": 3, "fact": 1, "reading": 1, "translation": 1}, 60, rng):
            reply = source.written_reply(p, rng)
            found.append((p.kind, p.text, p.content, reply, source.gold_reward(p, reply, True)))
    return found


@pytest.mark.parametrize("what", BEFORE)
def test_the_first_world_is_what_it_was(what):
    assert sha256(repr(first_texts(what)).encode()).hexdigest()[:16] == BEFORE[what]


@pytest.mark.parametrize("skew", [1.0, 6.0])
def test_the_commonest_animal_is_told_about_as_many_times_as_often_as_the_rarest_as_the_size_says(skew):
    world, rng, draws = (
        World(0, Size(animals=20, test_animals=5, validation_animals=5, skew=skew)),
        np.random.default_rng(0),
        8000,
    )
    told: Counter = Counter()
    for _ in range(draws):
        (animal,) = set(statement(world, rng)[0].split()) & set(world.all_animals)
        told[animal] += 1
    shares = sorted(told[animal] / draws for animal in world.all_animals)
    assert np.log(shares[-1] / shares[0]) == pytest.approx(np.log(skew), abs=0.45)
    assert np.std(np.diff(np.log(shares))) < 0.2  # evenly spread on a log scale


@pytest.mark.parametrize("split", ["train", "test"])
def test_training_draws_french_words_unevenly_and_held_out_clauses_evenly(split):
    skew, rng = 50.0, np.random.default_rng(0)
    world = World(0, Size(word_skew=skew))
    french = [word for _ in range(3000) for word in translation(world, split, rng, Texts()).french.split()]
    for table, pairs in ((world.nouns, 0), (world.adjectives, 1)):
        even = Counter(pair[pairs] for pair in world.noun_phrases[split])
        counts = np.array([sum(word == one for word in french) / even[one] for one in table if even[one]])
        spread = np.log(counts.max() / counts.min())
        assert spread == pytest.approx(np.log(skew), abs=1.0) if split == "train" else spread < 1.0
    verbs = Counter(word for word in french if word in world.verbs)
    assert (max(verbs.values()) > 0.4 * skew * min(verbs.values())) == (split == "train")
