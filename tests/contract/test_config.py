from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from dedpo.contract.config import Config, load
from dedpo.contract.sections import LoraConfig
from dedpo.errors import UserError

PARAMS = Path(__file__).parents[2] / "params.yaml"


def write(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def keys(section: type[BaseModel], prefix="") -> set[str]:
    found = set()
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= keys(inner, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


def leaves(tree: dict, prefix="") -> set[str]:
    found = set()
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name}
    return found


def test_params_yaml_is_a_full_mirror():
    assert leaves(yaml.safe_load(PARAMS.read_text(encoding="utf-8"))) == keys(Config)
    assert load(PARAMS).train.steps > 0


def test_the_file_decides_and_the_rest_is_default(tmp_path):
    config = load(write(tmp_path, "train:\n  beta: 2000\narms: [dedpo]\nprimary: dedpo\n"))
    assert (config.train.beta, config.arms, config.train.steps) == (2000.0, ["dedpo"], Config().train.steps)


def test_no_file_and_an_empty_file_are_the_defaults(tmp_path):
    assert load(None) == Config() == load(write(tmp_path, "# nothing\n"))
    assert load(None).arms == ["dpo_human", "dpo_synthetic", "dedpo_tuned"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {learning_rat: 1}", "unknown key 'train.learning_rat'; did you mean 'learning_rate'?"),
        ("trian: {}", "unknown key 'trian'; did you mean 'train'?"),
        ("targets: {zzz: 1}", "unknown key 'targets.zzz'; known here: power"),
        ("train: {steps: 10.5}", "train.steps: "),
        ("train: {steps: ten}", "train.steps: "),
        ("train: {steps: 0}", "got 0"),
        ("train: {beta: .nan}", "train.beta: "),
        ("train: {beta: .inf}", "train.beta: "),
        ("train: 5", "train: "),
        ("data: {labelled: 0}", "data.labelled: "),
        ("seeds: []", "seeds: "),
        ("seeds: [1, 1]", "seeds holds a value twice: [1, 1]"),
        ("arms: [dedpo]", "primary 'dedpo_tuned' is not among the arms ['dedpo']; add it or name another"),
        ("primary: best", "primary: "),
        ("train: {steps: 0, beta: 0}", "(and 1 more)"),
        ("- a\n- b", "expected sections such as 'train:', found list"),
        ("a: [", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_whole_number_written_as_a_float_is_an_int(tmp_path):
    config = load(write(tmp_path, "train: {steps: 10.0}\nseeds: [1.0, 2.0]\n"))
    assert (config.train.steps, config.seeds) == (10, [1, 2])
    assert isinstance(config.train.steps, int)


def test_a_missing_file_and_other_encodings_are_said_so(tmp_path):
    with pytest.raises(UserError, match="nowhere.yaml: No such file.*--config"):
        load(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes("label: {model: café}".encode("latin-1"))
    with pytest.raises(UserError, match="latin.yaml: not valid YAML"):
        load(tmp_path / "latin.yaml")


def test_overrides_beat_the_file_and_values_are_yaml(tmp_path):
    path = write(tmp_path, "train: {beta: 1, steps: 3}\n")
    config = load(path, ["train.beta=2000", "seeds=[1, 2]", "targets.power=null", "label.base_url=http://x:1/v1?a=b"])
    assert (config.train.beta, config.train.steps, config.seeds) == (2000.0, 3, [1, 2])
    assert config.label.base_url == "http://x:1/v1?a=b"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("train.beta", "write it as section.key=value"),
        ("=5", "write it as section.key=value"),
        ("train.beta=[", "is not a YAML value"),
        ("train.beta.x=1", "'beta' is a value, not a section"),
        ("train.bta=1", "unknown key 'train.bta'; did you mean 'beta'?"),
        ("train.beta=-1", "train.beta: "),
    ],
)
def test_a_bad_override_is_named(tmp_path, item, message):
    with pytest.raises(UserError) as raised:
        load(write(tmp_path, "train: {beta: 1}"), [item])
    assert message in str(raised.value)


def test_a_section_may_be_left_empty(tmp_path):
    path = write(tmp_path, "train:\n  # steps: 3\n")
    assert load(path) == Config()
    assert load(path, ["train.steps=7"]).train.steps == 7


def test_a_value_may_not_be_left_empty(tmp_path):
    with pytest.raises(UserError, match="primary: "):
        load(write(tmp_path, "primary:\n"))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("train.lora={rank: 8}", LoraConfig(rank=8)),
        ("train.lora.rank=8", LoraConfig(rank=8)),
        ("train.lora={}", LoraConfig()),
        ("train.lora=null", None),
        ("train.lora=", None),
    ],
)
@pytest.mark.parametrize("text", ["train: {lora: null}", "train: {steps: 3}", "train:\n", ""])
def test_a_section_that_may_be_null_is_made_with_its_defaults(tmp_path, text, item, expected):
    assert load(write(tmp_path, text), [item]).train.lora == expected


def test_what_such_a_section_holds_already_stays(tmp_path):
    path = write(tmp_path, "train: {lora: {rank: 8, modules: [to_q]}}")
    assert load(path, ["train.lora.alpha=2"]).train.lora == LoraConfig(rank=8, alpha=2, modules=["to_q"])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("train.lora={ranks: 8}", "unknown key 'train.lora.ranks'; did you mean 'rank'?"),
        ("train.lora.ranks=8", "unknown key 'train.lora.ranks'; did you mean 'rank'?"),
        ("train.lora=8", "train.lora: input should be a valid dictionary"),
        ("train.lora.rank.x=8", "train.lora.rank: input should be a valid integer, got {'x': 8}"),
        ("train=8", "train: "),
        ("train=null", "train: "),
        ("lora.rank=8", "unknown key 'lora'"),
        ("train.schedule_steps={x: 1}", "train.schedule_steps.x"),
        ("judge.rivals=[x]", "judge.rivals.0: input should be "),
        ("sample.seeds=[0, 0]", "sample.seeds holds a value twice"),
        ("sample.seeds=0", "sample.seeds: input should be a valid list, got 0"),
        ("train.steps=true", "train.steps: true is no value of it"),
        ("data.labelled=true", "data.labelled: true is no value of it"),
        ("sample.seeds=[true]", "[true] is no value of it"),
        ("label.model=1.5", 'label.model: input should be a valid string, got 1.5; put a text in quotes: "…"'),
        ("label.model=a: b", "label.model: input should be a valid string, got {'a': 'b'}"),
        ("label.model=@x", """'@x' is not a YAML value (line 1, column 1: found character '@' that cannot start any"""),
        ("label.model=@x", """--set 'label.model="…"'"""),
        ("label.model=!!python/object:os.system x", "is not a YAML value"),
        ("label.model=" + "[" * 500, "nested too deeply"),
        (".train=1", "unknown key ''"),
        ("train.=1", "unknown key 'train.'"),
        ("train..steps=1", "unknown key 'train.'"),
        ("a\nb=1", "unknown key 'a b'"),
    ],
)
def test_an_override_of_any_shape_is_a_setting_or_named(item, message):
    with pytest.raises(UserError) as raised:
        load(PARAMS, [item])
    assert message in str(raised.value)
    assert len(str(raised.value)) < 800
    assert "\n" not in str(raised.value)


def test_lists_and_mappings_may_be_overridden_whole_or_by_a_key():
    items = ["train.schedule_steps={500: 0.1}", "train.schedule_steps.800=1e-2", "sample.seeds=[0,1]"]
    config = load(None, [*items, "promote.max_loss.pickscore=0.1"])
    assert config.train.schedule_steps == {500: 0.1, 800: 0.01}
    assert config.sample.seeds == [0, 1]
    assert config.promote.max_loss == {"pickscore": 0.1}


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("train: {learning_rate: 1e-7}", "train.learning_rate", 1e-7),
        ("train: {learning_rate: 5e-7}", "train.learning_rate", 5e-7),
        ("train: {beta: 1_000}", "train.beta", 1000.0),
        ("train: {steps: 010}", "train.steps", 10),
        ("train: {steps: 08}", "train.steps", 8),
        ("train: {flip: yes}", "train.flip", True),
        ("train: {flip: off}", "train.flip", False),
        ("label: {model: no}", "label.model", "no"),
        ("label: {model: 2026-11-01}", "label.model", "2026-11-01"),
        ("label: {model: 12:30:00}", "label.model", "12:30:00"),
        ("label: {model: 'null'}", "label.model", "null"),
        ("\ufefflabel: {model: x}", "label.model", "x"),
        ("label: &l {model: x}\nbias: {seed: 1}", "label.model", "x"),
        ("---\r\nlabel:\r\n  model: x\r\n", "label.model", "x"),
    ],
)
def test_values_are_read_as_they_look(tmp_path, text, key, value):
    """YAML 1.1 reads 1e-7 as a text, 010 as eight, `no` as false and 12:30:00 as 45000; DVC reads 1.2."""
    section, name = key.split(".")
    found = getattr(getattr(load(write(tmp_path, text)), section), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {steps: 1}\nsample: {steps: 2}\ntrain: {beta: 3}\n", 'line 3, column 1: found duplicate key "train"'),
        ("train:\n  steps: 1\n  steps: 2\n", "line 3, column 3: found duplicate key"),
        ("train:\n\tsteps: 1\n", "line 2, column 1: found character '\\t'"),
        ("train: {steps: *s}", "found undefined alias"),
        ("train: {steps: 1:30}", "train.steps: "),
        ("train: {steps: true}", "train.steps: true is no value"),
        ("train: {1: 2}", "train"),
        ("? [a]\n: 1\n", ""),
        ("train: 1\n---\nlabel: 1\n", "found another document"),
        ("label: {model: !!int x}", "no value"),
        ("a text", "expected sections such as 'train:', found str"),
        ("x: &x [*x]", "unknown key 'x'"),
        ("seeds: &x [*x]", "seeds.0: "),
        ("label: {model: {" + "a" * 1000 + ": 1}}", "label.model: "),
    ],
)
def test_a_file_that_cannot_be_right_is_named_in_one_line(tmp_path, text, message):
    with pytest.raises(UserError) as raised:
        load(write(tmp_path, text))
    assert message in str(raised.value)
    assert len(str(raised.value)) < 800
    assert "\n" not in str(raised.value)


TEXTS = st.text(max_size=12) | st.sampled_from(["null", "{}", "[]", "1", "-1", "true", "a: 1", "[1, x]", "{a: {b: 1}}"])
KEYS = st.sampled_from(sorted(keys(Config))) | st.text(max_size=8)


@given(st.builds("{}{}={}".format, KEYS, st.sampled_from(["", ".", ".x", ".0"]), TEXTS))
@hypothesis_settings(max_examples=300)
def test_no_override_ends_in_anything_but_settings_or_one_line(item):
    told = ""
    try:
        load(None, [item])
    except UserError as error:
        told = str(error)
    assert "\n" not in told


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        Config().train.beta = 1.0
