"""What plugins may rely on of ``plugincore.configfile``."""

from __future__ import annotations

import configparser
import copy
import pickle
from pathlib import Path

import pytest

from plugincore import configfile
from plugincore.configfile import Config, ConfigError

INI = """\
[DEFAULT]
base = /srv

[paths]
plugins = ${base}/plugins
documents = ${plugins}/../documents

[typed]
number = int:42
big = int:123456789012345678901234567890
ratio = float:2.5
flag = bool:enabled
several = list:a int:4
    bool:on &
same = ${number}
text = number ${typed:number}
home = ${ENV:CONFIG_TEST_HOME}
price = $$5
"""


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """Return the path of a file that uses everything."""
    path = tmp_path / "server.ini"
    path.write_text(INI)
    return path


@pytest.fixture
def config(ini: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return the configuration of that file."""
    monkeypatch.setenv("CONFIG_TEST_HOME", "/home/me")
    return Config(file=ini)


def refused(path: Path, text: str) -> str:
    """Return the error that a file with this text gives."""
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config(file=path)
    return str(caught.value)


def test_values_have_the_types_of_their_prefixes(config: Config) -> None:
    """A prefix makes the type, a reference takes the type of what it refers to."""
    assert dict(config.typed) == {
        "base": "/srv",
        "number": 42,
        "big": 123456789012345678901234567890,
        "ratio": 2.5,
        "flag": True,
        "several": ["a", 4, True],
        "same": 42,
        "text": "number 42",
        "home": "/home/me",
        "price": "$5",
    }


def test_items_and_attributes_are_the_same(config: Config) -> None:
    """Dot and index notation reach one value, whichever set it."""
    assert config.paths.plugins == config["paths"]["plugins"] == "/srv/plugins"
    config.paths["plugins"] = "one"
    assert config.paths.plugins == "one"
    config.paths.plugins = "two"
    assert config.paths["plugins"] == "two"
    config.paths.extra = 1
    assert "extra" in config.paths
    del config.paths.extra
    assert not hasattr(config.paths, "extra")


def test_it_behaves_like_a_dict(config: Config) -> None:
    """Membership, length, iteration and get work as on a dict, and so do the errors."""
    assert "paths" in config
    assert "nothing" not in config
    assert ["paths", "typed"] == list(config) == list(config._keys)
    assert 3 == len(config.paths)
    assert "fallback" == config.paths.get("nothing", "fallback")
    with pytest.raises(KeyError):
        config["nothing"]
    with pytest.raises(AttributeError, match="nothing"):
        _ = config.nothing
    assert not isinstance(config, dict)


def test_sections_know_the_whole(config: Config) -> None:
    """``top_config`` of a section and ``masterConfig`` are the configuration itself."""
    assert config.top_config is config
    assert config.paths.top_config is config
    assert configfile.masterConfig is config
    section = Config(items={"a": 1}, top_config=config, section_name="s")
    assert section.top_config is config
    assert configfile.masterConfig is config
    other = Config(items={"a": 1})
    assert other.top_config is None
    assert configfile.masterConfig is other


def test_a_missing_file_gives_an_empty_config(tmp_path: Path) -> None:
    """As with ``configparser`` itself, a file that is not there has no sections."""
    assert {} == Config(file=tmp_path / "none.ini").data


def test_an_empty_section_is_fine(ini: Path) -> None:
    """A header with nothing below it is a section without keys."""
    ini.write_text("[empty]\n")
    assert {} == Config(file=str(ini)).empty.data


def test_something_must_be_given() -> None:
    """Without file and items there is nothing to build from."""
    with pytest.raises(AttributeError, match="file"):
        Config()


def test_odd_arguments_are_taken_as_they_are_meant(ini: Path) -> None:
    """A path may be bytes, any true value switches overrides on, and a key that is no text is told at once."""
    assert 42 == Config(file=bytes(ini), env_override=1).typed.number  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a string"):
        Config(items={1: 2})  # type: ignore[dict-item]


def test_a_dollar_that_begins_nothing_may_stand_behind_a_prefix(ini: Path) -> None:
    """After a type prefix only ``${…}`` and ``$$`` are looked at; without one any other dollar is an error."""
    ini.write_text("[s]\nx = list:$5 a$ $$\n")
    assert ["$5", "a$", "$"] == Config(file=ini).s.x
    assert "$ is not followed by" in refused(ini, "[s]\nx = $5\n")


@pytest.mark.parametrize("name", ["if", "print", "copy", "data", "self", "1st", "_x"])
def test_refused_keys(ini: Path, name: str) -> None:
    """Keywords, builtins, attributes of Config and names without a first letter are refused in a section."""
    ini.write_text(f"[s]\n{name} = 1\n")
    with pytest.raises(AttributeError, match=name):
        Config(file=ini)


@pytest.mark.parametrize("name", ["while", "list", "items", "top_config"])
def test_refused_sections(ini: Path, name: str) -> None:
    """The same goes for names of sections."""
    ini.write_text(f"[{name}]\nx = 1\n")
    with pytest.raises(AttributeError, match=name):
        Config(file=ini)


def test_the_keys_of_the_server_are_left_out(ini: Path) -> None:
    """A plugin may read the server's own file, which has a section that `Config` could not have."""
    ini.write_text("[keys]\nada = key=secret\n[shop]\nname = x\n")
    assert ["shop"] == list(Config(file=ini).data)
    assert "secret" not in str(Config(file=ini).data)


def test_setting_an_item_cannot_break_the_object(config: Config) -> None:
    """A key that would hide a method is refused; one that only shares a builtin's name is not."""
    with pytest.raises(AttributeError):
        config["copy"] = 1
    with pytest.raises(TypeError):
        config[1] = 1  # type: ignore[index]
    for section in (None, "s"):
        with pytest.raises(TypeError):
            Config(items={1: 1}, section_name=section)  # type: ignore[dict-item]
    config["id"] = 1
    assert 1 == config.id


def test_environment_overrides_existing_keys_of_a_file(ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``[PREFIX_]SECTION_KEY`` replaces a text before it is typed, and only when asked to."""
    monkeypatch.setenv("TYPED_NUMBER", "int:7")
    monkeypatch.setenv("APP_PATHS_PLUGINS", "/pa$$word")
    monkeypatch.setenv("TYPED_NEW", "x")
    assert 42 == Config(file=ini).typed.number
    overridden = Config(file=ini, env_override=True)
    assert 7 == overridden.typed.number == overridden.typed.same
    assert "new" not in overridden.typed
    assert "/pa$$word" == Config(file=ini, env_override=True, env_prefix="app").paths.plugins


def test_environment_overrides_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """For items the variable's text is taken as it is."""
    monkeypatch.setenv("P_S_A", "int:1")
    made = Config(items={"a": 0}, env_override=True, env_prefix="p", section_name="s", top_config=Config(items={}))
    assert "int:1" == made.a


def test_merge(config: Config) -> None:
    """Sections merge key by key; values here give way unless told not to."""
    new = {"plugins": "new", "more": 1}
    config.merge(Config(items={"paths": Config(items=new), "added": 1}), overwrite=False)
    assert ("/srv/plugins", 1, 1) == (config.paths.plugins, config.paths.more, config.added)
    config.merge(Config(items={"paths": Config(items=new)}))
    assert "new" == config.paths.plugins


def test_copies_are_independent(config: Config) -> None:
    """Copying and pickling give equal configurations that do not share items."""
    for twin in (copy.copy(config), copy.deepcopy(config), config.copy(), pickle.loads(pickle.dumps(config))):
        assert config == twin
        twin.added = 1
        assert "added" not in config
    assert copy.deepcopy(config).paths is not config.paths
    assert pickle.loads(pickle.dumps(config)).paths.plugins == "/srv/plugins"


def test_nothing_is_printed(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration holds keys, so building and changing one stays silent."""
    config["logging"] = {"level": "DEBUG"}
    assert ("", "") == capsys.readouterr()


def test_malformed_files_raise_an_error_of_both_families(ini: Path) -> None:
    """``ConfigError`` is what callers caught before: a configparser error and a ValueError."""
    assert issubclass(ConfigError, configparser.Error)
    assert issubclass(ConfigError, ValueError)
    assert f"{ini}:1: text before the first section" in refused(ini, "x = 1\n")


def test_every_error_is_told_with_file_and_line(ini: Path) -> None:
    """Several wrong values give one exception that names all of them."""
    told = refused(ini, "[s]\na = int:x\nb = $5\nc = ${nothing}\nd = ${d}\n").splitlines()
    assert [f"{ini}:{line}: [s] {key}: " for line, key in enumerate("abcd", 2)] == [
        line[: len(f"{ini}:2: [s] a: ")] for line in told
    ]


def test_a_bad_value_is_not_repeated(ini: Path) -> None:
    """An error's text ends up in logs, and the value may be a secret."""
    assert "hunter2" not in refused(ini, "[s]\npassword = int:hunter2\nother = hunter2$\n")
    assert "hunter2" not in refused(ini, "[s]\nhunter2\n")
