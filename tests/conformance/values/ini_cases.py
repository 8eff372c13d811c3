"""Fixed cases of ini files: what is written, and the script that looks at the ``Config`` made of it."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.values.sides import Case

LOOK = """
config = Config(file='server.ini', **(given or {}))
sections = [config[name] for name in config]
result = {
    'config': config,
    'keys': [len(config), list(config), list(config._keys), list(config.keys())],
    'top': [config.top_config is config, configfile.masterConfig is config, bool(config)],
    'dots': all(getattr(section, key) is section[key] is section.get(key) for section in sections for key in section),
    'sections': [[getattr(config, name) is config[name], config[name].top_config is config, name in config,
                  len(config[name]), 'nothing' in config[name], config[name].get('nothing', 7)] for name in config],
}
"""

#: Values of the key ``k`` in ``[s]``, beside ``n = int:42``, ``t = text``, ``l = list:a int:1`` and ``[DEFAULT] d``.
VALUES = [
    *(
        "text",
        "",
        "  spaced  out  ",
        '"quoted"',
        "'single'",
        "a=b",
        "a:b",
        "a # b",
        "a ; b",
        "#",
        "[x]",
        "%",
        "%(t)s",
        "%%",
    ),
    *("ünï ☃ 𝄞", "\u00a0x", "x\u2028y", "x\x0cy", "x\x1cy", "\\n", "a\tb", "true", "None", "42"),
    *("int:42", "int: 42", "int:+42", "int:-42", "int:0", "int:-0", "int:007", "int:1_000", "int:42 ", "int:\t42"),
    *("int:", "int:x", "int:4.2", "int:0x10", "int:1__0", "int:_1", "int:1_", "int:--1", "int:1 2", "int:1e3", "int:²"),
    *(f"int:{2**63 - 1}", f"int:{-(2**63)}", f"int:{2**64}", f"int:{2**127 - 1}", f"int:{2**127}", "int:" + "9" * 60),
    *("int:٤٢", "float:٤.٢", "int:１２"),
    *("float:3.14", "float:1", "float:-0.0", "float:1e3", "float:1E-3", "float:.5", "float:5.", "float:1_0.5"),
    *(
        "float:inf",
        "float:-inf",
        "float:Infinity",
        "float:nan",
        "float:NaN",
        "float:+nan",
        "float:1e999",
        "float:5e-324",
    ),
    *("float:", "float:x", "float:1,5", "float:0x1p3", "float:.", "float:e5", "float:in_f", "float:1._5", "float:infi"),
    *("bool:true", "bool:True", "bool:enabled", "bool:enable", "bool:on", "bool:1", "bool:yes", "bool:false", "bool:"),
    *("bool: true", "bool:true ", "bool:ON", "bool:TRUE", "bool:2", "bool:on off", "bool:disabled"),
    *(
        "list:a b",
        "list:",
        "list: a",
        "list:a  b\tc",
        "list:int:1 float:2.5 bool:on bool:no",
        "list:a list:b",
        "list:int:x",
    ),
    *("list:list:a b", "list:list:list:a", "list:a,b", "list:'a b'", "list:a & b", "list:a b &", "list:&", "list:a& b"),
    *(
        "list:list:int:1",
        "list:list:",
        "list:bool:",
        "list:int: 4",
        "list:a\u00a0b",
        "list:$5",
        "list:$$5",
        "list:a $$",
    ),
    *("Int:4", "INT:4", "int :4", "integer:4", "str:x", "bool", "listing:a", "list", "int", "float:nanx"),
    *(
        "$$",
        "$$$$",
        "a$$b",
        "$${t}",
        "$",
        "$5",
        "a$",
        "$ {t}",
        "${",
        "${t",
        "${}",
        "${ }",
        "$}",
        "${:}",
        "${s:}",
        "${:t}",
    ),
    *(
        "${t}",
        "x${t}y",
        "${t}${t}",
        "${T}",
        "${s:t}",
        "${s:T}",
        "${S:t}",
        "${o:p}",
        "${o:P}",
        "${d}",
        "${s:d}",
        "${o:d}",
    ),
    *(
        "${DEFAULT:d}",
        "${DEFAULT:t}",
        "${nothing}",
        "${s:nothing}",
        "${none:t}",
        "${a:b:c}",
        "${ t }",
        "${s: t}",
        "${k}",
    ),
    *("${s:k}", "${loop}", "${o:loop}", "${dollar}", "${percent}", "${blank}", "${multi}", "x${blank}y"),
    *("${n}", "${s:n}", "x${n}", "${l}", "x${l}", "${f}", "${yes}", "int:${n}", "int:1${n}", "int:${t}", "list:${t} x"),
    *("list:${l} x", "list:x${t}", "list:${n} b", "bool:${yes}", "float:${f}", "list:${nothing}", "int:${nothing}"),
    *("list:${", "bool:$", "bool:$x", "float:$", "list:$ a", "int:$$5", "bool:$$", "list:${t}${t}", "list:a${n}"),
    *(
        "${ENV:V_TEXT}",
        "${ENV:V_INT}",
        "${ENV:V_LIST}",
        "${ENV:V_NONE}",
        "x${ENV:V_TEXT}y",
        "${ENV:V_EMPTY}",
        "${ENV:}",
    ),
    *(
        "${ENV:V_DOLLAR}",
        "${ENV:V_DOLLARS}",
        "${ENV:V_REF}",
        "${ENV:V_NESTED}",
        "int:${ENV:V_NUMBER}",
        "list:${ENV:V_TEXT} b",
    ),
    *(
        "$${ENV:V_TEXT}",
        "${env:V_TEXT}",
        "${ENV:v_text}",
        "${ENV: V_TEXT}",
        "bool:${ENV:V_TRUE}",
        "${envref}",
        "list:${ENV:V_LIST}",
    ),
    *(
        "first\n second",
        "first\n\n second",
        "first\n\tsecond",
        "int:4\n 2",
        "list:a\n b\n int:1",
        "list:a\n &\n b",
        "\n second",
    ),
    *(
        "first\n# comment\n second",
        "first\n ; comment\n second",
        "first\n  # indented\n second",
        "x\n ${t}",
        "x\n y = z",
        "x\n [y]",
    ),
]

BESIDE = """\
[DEFAULT]
d = default
[s]
n = int:42
t = text
f = float:2.5
yes = bool:on
l = list:a int:1
dollar = a$$b
percent = 100%
blank =
multi = one
  two
loop = ${o:loop}
envref = ${ENV:V_TEXT}
k = @
[o]
p = of ${s:t}
loop = x
"""
#: Without ``loop``, which cases of cycles only may have.
VARIABLES = {
    "V_TEXT": "from env",
    "V_INT": "int:7",
    "V_LIST": "list:a int:2",
    "V_EMPTY": "",
    "V_DOLLAR": "a$b",
    "V_DOLLARS": "a$$b",
    "V_REF": "${t}",
    "V_NESTED": "${ENV:V_TEXT}",
    "V_NUMBER": "12",
    "V_TRUE": "true",
}

#: Whole files.
FILES: dict[str, str | bytes] = {
    "an empty file": "",
    "comments only": "# a\n; b\n",
    "blank lines only": "\n\n  \n",
    "an empty section": "[a]\n",
    "an empty section among others": "[a]\nx = 1\n[b]\n[c]\ny = 2\n",
    "an empty section that inherits": "[DEFAULT]\nx = 1\n[a]\n",
    "DEFAULT only": "[DEFAULT]\nx = 1\n",
    "DEFAULT twice": "[DEFAULT]\nx = 1\n[a]\ny = 1\n[DEFAULT]\nz = 3\n",
    "DEFAULT in another case": "[default]\nx = 1\n[a]\ny = 1\n",
    "DEFAULT after the section": "[a]\ny = ${x}\n[DEFAULT]\nx = 1\n",
    "DEFAULT overridden": "[DEFAULT]\nx = 1\n[a]\nx = 2\nb = 3\n",
    "DEFAULT refers to what sections have": "[DEFAULT]\nwhole = ${base}/x\n[a]\nbase = 1\n[b]\nbase = 2\n",
    "DEFAULT refers to what a section lacks": "[DEFAULT]\nwhole = ${base}/x\n[a]\nbase = 1\n[b]\nother = 2\n",
    "typed values in DEFAULT": "[DEFAULT]\nx = int:1\n[a]\ny = list:a b\n",
    "delimiters": "[a]\nb=1\nc:2\nd = 3\ne : 4\nf=g:h\ni:j=k\nl==\nm::\nn:=\n",
    "a delimiter at the end": "[a]\nb=\nc:\nd = \n",
    "a key without a delimiter": "[a]\nb\n",
    "a key that is a delimiter": "[a]\n= 1\n",
    "a colon alone": "[a]\n: 1\n",
    "keys with blanks": "[a]\nb c = 1\n",
    "keys in capitals": "[a]\nBig Key = 1\nCaMeL = 2\n",
    "keys that differ in case": "[a]\nx = 1\nX = 2\n",
    "sections that differ in case": "[a]\nx = 1\n[A]\nx = 2\n",
    "a section twice": "[a]\nx = 1\n[b]\ny = 1\n[a]\nz = 1\n",
    "a key twice": "[a]\nx = 1\nx = 2\n",
    "a key twice in DEFAULT": "[DEFAULT]\nx = 1\nx = 2\n[a]\n",
    "text before a section": "x = 1\n[a]\ny = 1\n",
    "a section name with blanks": "[ a b ]\nx = 1\n",
    "a section name with brackets": "[a]b]\nx = 1\n",
    "a section header with a comment": "[a] # comment\nx = 1\n",
    "a section header with text behind it": "[a] x = 1\ny = 2\n",
    "an empty section name": "[]\nx = 1\n",
    "a header that is not closed": "[a\nx = 1\n",
    "an indented header": "  [a]\nx = 1\n",
    "an indented header below a key": "[a]\nx = 1\n  [b]\ny = 2\n",
    "an indented first key": "[a]\n  x = 1\n  y = 2\n",
    "deeper indentation": "[a]\n  x = 1\n    y = 2\n  z = 3\n",
    "comments everywhere": "# a\n[s]\n; b\nx = 1 # kept\ny = 2 ; kept\n  # c\nz = 3\n",
    "a comment between continuation lines": "[a]\nx = 1\n# c\n  2\ny = 3\n",
    "an empty line inside a value": "[a]\nx = 1\n\n  2\n\ny = 3\n",
    "REM": "[a]\nrem = 1\nREM x = 2\n",
    "carriage returns": "[a]\r\nx = 1\r\n  2\r\ny = int:3\r\n",
    "old Mac line ends": "[a]\rx = 1\ry = 2\r",
    "no line end at the end": "[a]\nx = 1",
    "blanks at line ends": "[a]  \nx = 1  \t \n",
    "form feeds": "[a]\n\x0cx = 1\ny = 2\x0c\n",
    "vertical tabs": "[a]\n\x0bx = 1\n",
    "a next line sign": "[a]\nx = 1\x85y = 2\n",
    "a line separator": "[a]\nx = 1\u2028y = 2\n",
    "a no-break space before a key": "[a]\n\u00a0x = 1\n",
    "a no-break space in front of a continuation": "[a]\nx = 1\n\u00a0y\n",
    "a zero byte": "[a]\nx = a\x00b\n",
    "a byte order mark": b"\xef\xbb\xbf[a]\nx = 1\n",
    "a byte order mark before a comment": b"\xef\xbb\xbf# c\n[a]\nx = 1\n",
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf[a]\nx = 1\n",
    "UTF-16": "[a]\nx = 1\n".encode("utf-16"),
    "Latin-1": "[a]\nx = é\n".encode("latin-1"),
    "a cut UTF-8 sequence": b"[a]\nx = \xc3",
    "an encoded surrogate": b"[a]\nx = \xed\xa0\x80\n",
    "unicode names": "[größe]\nlänge = 1\nΣΑΣ = 2\nİ = 3\n",
    "names beyond the basic plane": "[𝒂]\n𝒃 = 1\n",
    "a long chain": "[a]\nk0 = x\n" + "".join(f"k{n} = ${{k{n - 1}}}\n" for n in range(1, 9)),
    "a chain of eleven references": "[a]\nk0 = x\n" + "".join(f"k{n} = ${{k{n - 1}}}\n" for n in range(1, 12)),
    "a chain of twenty references": "[a]\nk0 = x\n" + "".join(f"k{n} = ${{k{n - 1}}}\n" for n in range(1, 21)),
    "a cycle of three": "[a]\nx = ${y}\ny = ${z}\nz = ${x}\n",
    "a cycle through another section": "[a]\nx = ${b:x}\n[b]\nx = ${a:x}\n",
    "an environment reference within a reference": "[a]\nx = ${b:y}\n[b]\ny = <${ENV:V_TEXT}>\n",
    "a dollar within a reference": "[a]\nx = ${b:y}\n[b]\ny = a$$$$b\n",
    "a reference to an environment list": "[a]\nx = list:${ENV:V_LIST} c\n",
    "a typed value with a reference to a list": "[a]\nl = list:1 2\nx = list:${l}\n",
    "a refused key and a wrong value": "[s]\nif = 1\n[t]\nx = int:x\n",
    "a wrong value and a refused key": "[t]\nx = int:x\n[s]\nif = 1\n",
    "a refused key in DEFAULT": "[DEFAULT]\nif = 1\n[s]\nx = 1\n",
    "a refused key in DEFAULT alone": "[DEFAULT]\nif = 1\n",
    "a refused key that is overridden": "[DEFAULT]\nid = 1\n[s]\nid = 2\n",
    "a section called ENV": "[ENV]\nx = 1\n[a]\ny = ${ENV:x}\n",
    "the whole of a usual file": (
        "[network]\nbindto = 0.0.0.0\nport = 9192\n[paths]\nplugins = /p\ndocuments = ${plugins}/docs\n[SSL]\n"
        "enabled = bool:false\ncertfile = /c\nkeyfile = /k\n[auth]\napikey = k$$y\n[cors]\nenabled = bool:true\n"
        "origin_url = list:http://a http://b:8080 &\n[plugin_parms]\nexample = auth_type=plugin&apikey=x\n"
    ),
}

#: Names that might be refused, as section and as key.
NAMES = [
    *("if", "None", "True", "class", "print", "id", "type", "list", "open", "Exception", "__name__", "self", "data"),
    *("copy", "items", "keys", "values", "get", "pop", "popitem", "update", "clear", "setdefault", "fromkeys", "merge"),
    *(
        "top_config",
        "_keys",
        "_keyok",
        "_foo",
        "_x",
        "__x",
        "1st",
        "-x",
        "$x",
        "x-y",
        "x.y",
        "x y",
        "match",
        "case",
        "_",
    ),
    *("logging", "config", "section", "file", "env_prefix", "section_name", "exit", "license", "é", "²", "Data", "IF"),
    *("__class__", "__dict__", "_abc_impl", "__weakref__", "__len__", "async", "await", "log", "args", "DEFAULT"),
]

OVERRIDES: dict[str, tuple[str, dict[str, str], dict[str, object]]] = {
    "no override unless asked": ("[a]\nx = 1\n", {"A_X": "2"}, {}),
    "override": ("[a]\nx = 1\n", {"A_X": "2"}, {"env_override": True}),
    "override with a prefix": ("[a]\nx = 1\n", {"A_X": "2", "P_A_X": "3"}, {"env_override": True, "env_prefix": "p"}),
    "an empty prefix": ("[a]\nx = 1\n", {"A_X": "2"}, {"env_override": True, "env_prefix": ""}),
    "an empty variable": ("[a]\nx = 1\n", {"A_X": ""}, {"env_override": True}),
    "a variable for a key that is not there": ("[a]\nx = 1\n", {"A_Y": "2"}, {"env_override": True}),
    "a typed variable": ("[a]\nx = 1\n", {"A_X": "int:2"}, {"env_override": True}),
    "a typed variable in place of a typed value": ("[a]\nx = int:1\n", {"A_X": "list:1 2"}, {"env_override": True}),
    "a plain variable in place of a typed value": ("[a]\nx = int:1\n", {"A_X": "2"}, {"env_override": True}),
    "a variable that does not fit its prefix": ("[a]\nx = 1\n", {"A_X": "int:b"}, {"env_override": True}),
    "a variable with a dollar": ("[a]\nx = 1\n", {"A_X": "pa$$w${y}"}, {"env_override": True}),
    "a variable for a broken value": ("[a]\nx = ${none}\n", {"A_X": "2"}, {"env_override": True}),
    "a variable for a value that others refer to": ("[a]\nx = 1\ny = <${x}>\n", {"A_X": "2"}, {"env_override": True}),
    "a variable for an inherited key": ("[DEFAULT]\nx = 1\n[a]\n[b]\n", {"A_X": "2"}, {"env_override": True}),
    "a section in lower case": ("[ssl]\nx = 1\n[SSL]\nx = 2\n", {"SSL_X": "3"}, {"env_override": True}),
    "odd names": ("[a b]\nc-d = 1\n[ß]\nx = 1\n", {"A B_C-D": "2", "SS_X": "3"}, {"env_override": True}),
    "a lower-case variable": ("[a]\nx = 1\n", {"a_x": "2"}, {"env_override": True}),
    "a word for true": ("[a]\nx = 1\n", {"A_X": "2"}, {"env_override": 1}),
}


def cases() -> Iterator[Case]:
    """All fixed cases of ini files."""
    for value in VALUES:
        text = BESIDE.replace("@", value)
        if "loop" not in value:
            text = text.replace("loop = ${o:loop}\n", "")
        elif value == "${loop}":
            text = text.replace("${o:loop}", "${k}")
        yield Case("ini", LOOK, {"server.ini": text}, VARIABLES, name=f"value {value!r}")
    for name, content in FILES.items():
        yield Case("ini", LOOK, {"server.ini": content}, VARIABLES, name=name)
    for word in NAMES:
        for text in (f"[s]\n{word} = 1\n", f"[{word}]\nx = 1\n"):
            yield Case("ini", LOOK, {"server.ini": text}, name=f"name {text!r}")
    for name, (text, env, options) in OVERRIDES.items():
        yield Case("ini", LOOK, {"server.ini": text}, env, options, name)
    yield Case("ini", LOOK, name="a missing file")
    yield Case("ini", LOOK, {"server.ini/x": ""}, name="a folder in the place of the file")
    yield Case(
        "ini", "os.mkfifo('p'); os.rename('p', 'q'); os.symlink('none', 'server.ini')\n" + LOOK, name="a broken link"
    )
