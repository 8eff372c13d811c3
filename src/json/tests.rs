//! The promise is "as `json.dumps` and `json.loads`", so most tests put the same value to both.

use std::ffi::CStr;

use pyo3::exceptions::{PyRecursionError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::number::write_float;
use super::*;

mod cursor;
mod decode;
mod plain;

/// Attaches to the embedded interpreter with a namespace filled by `code`.
fn with<T>(code: &CStr, test: impl for<'py> FnOnce(Python<'py>, Bound<'py, PyDict>) -> T) -> T {
    Python::initialize();
    Python::attach(|py| {
        let names = PyDict::new(py);
        py.run(code, Some(&names), None).unwrap();
        test(py, names)
    })
}

fn get<'py>(names: &Bound<'py, PyDict>, name: &str) -> Bound<'py, PyAny> {
    names.get_item(name).unwrap().unwrap()
}

fn text(value: &Bound<'_, PyAny>) -> Result<String, EncodeError> {
    let mut out = b"before".to_vec();
    let result = encode(value, &mut out);
    let added = String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned();
    if result.is_err() {
        assert_eq!("", added, "a failed encode leaves the buffer as it was");
    }
    result.map(|()| added)
}

/// The outcome of either side as something comparable: the text, or the exception with its message.
fn outcome(py: Python<'_>, result: Result<String, EncodeError>) -> String {
    match result {
        Ok(text) => text,
        Err(EncodeError::Python { error, .. }) => describe(py, &error),
        Err(EncodeError::TooDeep { .. }) => "too deep".to_owned(),
    }
}

fn describe(py: Python<'_>, error: &PyErr) -> String {
    let text = error.to_string();
    if error.is_instance_of::<PyRecursionError>(py) || text.contains("Circular reference detected") {
        return "too deep".to_owned();
    }
    text
}

fn dumps(value: &Bound<'_, PyAny>) -> String {
    let py = value.py();
    match py.import("json").unwrap().call_method1("dumps", (value,)) {
        Ok(text) => text.extract().unwrap(),
        Err(error) => describe(py, &error),
    }
}

fn assert_as_dumps(value: &Bound<'_, PyAny>) {
    assert_eq!(dumps(value), outcome(value.py(), text(value)));
}

/// Puts each element of the list `values` that `code` defines to both encoders.
fn assert_each_as_dumps(code: &CStr) {
    with(code, |_, names| {
        for value in get(&names, "values").try_iter().unwrap() {
            assert_as_dumps(&value.unwrap());
        }
    });
}

/// What `value`, a Python expression after the statements of `code`, fails with.
fn failure(code: &CStr) -> String {
    with(code, |_, names| text(&get(&names, "value")).unwrap_err().to_string())
}

#[test]
fn constants_numbers_and_containers_read_as_from_json_dumps() {
    assert_each_as_dumps(
        c"
values = [None, True, False, 0, -0, 1, -1, 9, 10, 99, 100, 2**31, 2**63 - 1, 2**63, -2**63, -2**63 - 1, 10**400,
          [], (), {}, [[]], [()], [{}], {'a': {}}, [1, 2.5, 'x', None, (True,)], {'a': [1, {'b': None}], 'c': 'd'}]
",
    );
}

#[test]
fn strings_of_every_plane_are_escaped_as_json_dumps_does() {
    assert_each_as_dumps(
        c"
import random
rng = random.Random(20)
values = [chr(c) for c in range(0x300)] + ['a' * n + chr(c) + 'b' * m
          for n in range(18) for m in (0, 3, 9)
          for c in (0, 9, 31, 34, 92, 127, 128, 255, 256, 0xd800, 0xffff, 0x1f600)]
values += ['\\ud83d\\ude00', '\\udc00', '\\ud800x', '\\U0010ffff', '\\U00010000', '']
values += [''.join(chr(rng.randrange(top)) for _ in range(rng.randrange(40)))
           for top in (128, 256, 0x3000, 0x110000) for _ in range(500)]
",
    );
}

#[test]
fn an_escape_is_found_at_every_place_of_a_string_of_every_length() {
    assert_each_as_dumps(
        c"
def around(length):
    plain = ''.join(chr(48 + i % 70) for i in range(length)).replace(chr(92), '-')
    yield plain
    for place in range(length):
        for odd in (0, 31, 34, 92, 127, 128, 256, 65536):
            yield plain[:place] + chr(odd) + plain[place + 1:]
texts = [text for length in range(70) for text in around(length)]
values = [texts, dict.fromkeys(texts)] + texts[:200]
",
    );
}

#[test]
fn floats_near_zero_are_laid_out_as_python_does() {
    assert_each_as_dumps(
        c"
digits = ('1', '12', '123', '1234567890123456', '12345678901234567', '99999999999999999')
values = [[float(f'{sign}{d}e{e}') for d in digits for e in range(-345, 25) for sign in ('', '-')]]
",
    );
}

#[test]
fn subclasses_are_written_as_their_base() {
    assert_each_as_dumps(
        c"
import collections, enum
class S(str):
    def __str__(self): return 'overridden'
    __repr__ = __str__
    def __iter__(self): raise RuntimeError
class I(int):
    def __repr__(self): return 'overridden'
    __str__ = __index__ = __repr__
class F(float):
    def __repr__(self): return 'overridden'
    def __float__(self): return 1.0
class E(enum.IntEnum): ONE = 1; BIG = 2**70
class SE(str, enum.Enum): A = 'a'
class Halved(list):
    def __iter__(self): return iter([1, 2])
class HalvedTuple(tuple):
    def __iter__(self): return iter([3])
class D(dict):
    def items(self): return [('x', 1), (2, 'y')]
class Generated(dict):
    def items(self): yield ('g', [1])
P = collections.namedtuple('P', 'x y')
values = [S('a\"b'), S('\\u00e4'), I(5), I(-2**80), F(2.5), F('nan'), E.ONE, E.BIG, SE.A, P(1, P('a', None)),
          Halved([7]),
          Halved(), HalvedTuple((7, 8)), D(), D(a=1), Generated(a=1), collections.OrderedDict(b=1, a=2),
          collections.defaultdict(list, a=[1]), collections.Counter('abca'),
          {S('k'): 1, I(3): 2, F(1.5): 3, E.ONE: 4, E.BIG: 5, SE.A: 6}]
",
    );
}

#[test]
fn keys_become_text_and_repeated_ones_stay() {
    assert_each_as_dumps(
        c"
values = [{1: 'a', '1': 'b'}, {None: 1, 'null': 2}, {True: 1, 'true': 2, False: 3}, {1.0: 1}, {2**70: 1, -5: 2},
          {float('nan'): 1, float('inf'): 2, -float('inf'): 3}, {1e16: 1, 0.1: 2}, {'\\u20ac\"': 1},
          {(1, 2): 3}, {b'a': 1}, {frozenset(): 1}, {'ok': {object: 1}}]
",
    );
}

#[test]
fn what_json_dumps_refuses_and_has_an_obvious_form_is_written() {
    for (value, expected) in [
        (c"import datetime; value = datetime.datetime(2026, 1, 2, 3, 4, 5)", r#""2026-01-02T03:04:05""#),
        (c"import datetime; value = [datetime.date(2026, 1, 2), datetime.time(3, 4)]", r#"["2026-01-02", "03:04:00"]"#),
        (c"import uuid; value = {'id': uuid.UUID(int=5)}", r#"{"id": "00000000-0000-0000-0000-000000000005"}"#),
        (c"import decimal; value = (decimal.Decimal('1.10'),)", r#"["1.10"]"#),
        (c"value = [{1}, frozenset(), {('a', frozenset({2}))}]", r#"[[1], [], [["a", [2]]]]"#),
        (
            c"
import datetime, enum
class Colour(enum.Enum):
    RED = 'red'
    DAY = datetime.date(2026, 1, 2)
value = [Colour.RED, Colour.DAY]",
            r#"["red", "2026-01-02"]"#,
        ),
        (
            c"
from dataclasses import dataclass, field
from typing import Any, ClassVar
@dataclass
class Point:
    x: int
    y: Any = field(default_factory=set)
    unset: int = field(init=False)
    kind: ClassVar[str] = 'point'
value = Point(1, Point(2))",
            r#"{"x": 1, "y": {"x": 2, "y": []}}"#,
        ),
    ] {
        with(value, |_, names| assert_eq!(expected, text(&get(&names, "value")).unwrap()));
    }
}

#[test]
fn what_is_replaced_by_itself_is_an_error_and_no_endless_walk() {
    let error = failure(
        c"
import enum
class Circle(enum.Enum):
    A = 1
Circle.A._value_ = Circle.A
value = [Circle.A]",
    );
    assert_eq!("result[0]: TypeError: Object of type Circle is not JSON serializable", error);
    let error = failure(
        c"
from dataclasses import dataclass
from typing import Any
@dataclass
class Ring:
    next: Any
value = Ring(None)
value.next = value",
    );
    assert!(error.contains("nested more than 1000 levels deep, or contains itself"), "{error}");
}

#[test]
fn what_has_no_json_form_is_a_type_error_that_tells_where() {
    let error = failure(c"value = {'b': 1, 'a': [0, 1, 2, b'x']}");
    assert_eq!(r#"result["a"][3]: TypeError: Object of type bytes is not JSON serializable"#, error);
    let error = failure(c"value = [{'a': {(1,): 2}}]");
    assert_eq!(r#"result[0]["a"]: TypeError: keys must be str, int, float, bool or None, not tuple"#, error);
    let error = failure(c"value = {1: {'\\n\\u20ac': b''}}");
    assert_eq!(r#"result["1"]["\n\u20ac"]: TypeError: Object of type bytes is not JSON serializable"#, error);
    let error = failure(c"value = 1j");
    assert_eq!("result: TypeError: Object of type complex is not JSON serializable", error);
    assert_each_as_dumps(
        c"
import collections, datetime
values = [object(), object, len, b'', [b''], 1j, datetime.timedelta(1), range(3), iter([]),
          collections.UserDict(a=1), {'a': 1}.items(), ..., NotImplemented]
",
    );
}

#[test]
fn an_int_above_the_limit_of_digits_is_a_value_error() {
    assert_each_as_dumps(c"values = [10**4299, 10**4300, -10**5000, [10**4300], {10**4300: 1}]");
}

#[test]
fn floats_of_random_bits_read_as_from_repr() {
    let code = c"
import random, struct
rng = random.Random(3)
values = [0.0, -0.0, 1.0, -1.5, 0.1, 1e15, 1e16, 1e17, 123456789012345680.0, 9999999999999998.0, 1e-4, 1e-5, 0.00012345,
          5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e22, 1e23, 2.0**-44, float('inf'), -float('inf'),
          float('nan'), 1700000000.1234567, 0.30000000000000004]
values += [sign * 2.0**e for e in range(-1074, 1024) for sign in (1, -1)]
# Exact values that lie halfway between two shortest candidates.
values += [(rng.getrandbits(53) | 2**52) / 2**e for e in range(20) for _ in range(200)]
values += [struct.unpack('<d', rng.randbytes(8))[0] for _ in range(30000)]
values += [rng.random() * 10**rng.randrange(-6, 20) for _ in range(10000)]
values += [round(rng.uniform(-1000, 1000), rng.randrange(8)) for _ in range(5000)]
values += [float(rng.randrange(10**rng.randrange(1, 30))) for _ in range(5000)]
texts = ['NaN' if v != v else 'Infinity' if v == float('inf') else '-Infinity' if v == -float('inf') else repr(v)
         for v in values]
";
    with(code, |_, names| {
        let values: Vec<f64> = get(&names, "values").extract().unwrap();
        let texts: Vec<String> = get(&names, "texts").extract().unwrap();
        for (value, expected) in values.into_iter().zip(texts) {
            let mut out = Vec::new();
            write_float(&mut out, value);
            assert_eq!(expected, String::from_utf8(out).unwrap());
        }
    });
}

/// Makes `value(i)`: nested values of every kind that either encoder may meet, the same for each run.
const RANDOM_VALUES: &CStr = c"
import collections, enum, random, struct
class S(str): pass
class I(int): pass
class F(float): pass
class L(list): pass
class D(dict): pass
class E(enum.IntEnum): A = 1; B = -7
P = collections.namedtuple('P', 'x y')
TOPS = (128, 128, 128, 256, 0x800, 0x110000)
def string(rng):
    top = rng.choice(TOPS)
    low = 32 if rng.random() < 0.6 else 0
    return ''.join(chr(rng.randrange(low, top)) for _ in range(int(rng.expovariate(0.1))))
def scalar(rng):
    kind = rng.randrange(14)
    if kind < 4: return string(rng)
    if kind == 4: return S(string(rng))
    if kind == 5: return rng.choice((None, True, False))
    if kind == 6: return rng.randrange(-1000, 1000)
    if kind == 7: return rng.getrandbits(rng.randrange(1, 300)) * rng.choice((1, -1))
    if kind == 8: return I(rng.getrandbits(70))
    if kind == 9: return rng.choice(list(E))
    if kind == 10: return struct.unpack('<d', rng.randbytes(8))[0]
    if kind == 11: return round(rng.uniform(-1e4, 1e4), rng.randrange(6))
    if kind == 12: return F(rng.random())
    return rng.choice((0, '', 0.0, 2**63, -2**63, 1e16, 1e-5))
def nested(rng, depth, odd):
    if depth == 0 or rng.random() < 0.4:
        if rng.random() < odd: return rng.choice((b'x', 1j, {(1, 2): 3}))
        return scalar(rng)
    kind = rng.randrange(7)
    size = rng.randrange(6)
    if kind == 6: return P(nested(rng, depth - 1, odd), nested(rng, depth - 1, odd))
    if kind in (0, 1, 2):
        return (list, tuple, L)[kind](nested(rng, depth - 1, odd) for _ in range(size))
    return (dict, D, collections.OrderedDict)[kind - 3](
        (string(rng) if rng.random() < 0.7 else scalar(rng), nested(rng, depth - 1, odd)) for _ in range(size))
def value(i):
    rng = random.Random(i)
    return nested(rng, rng.randrange(7), rng.choice((0, 0, 0.02)))
";

#[test]
fn random_values_read_as_from_json_dumps() {
    with(RANDOM_VALUES, |_, names| {
        let make = get(&names, "value");
        for index in 0..6000 {
            assert_as_dumps(&make.call1((index,)).unwrap());
        }
    });
}

#[test]
fn a_value_that_contains_itself_is_too_deep() {
    let list = failure(c"value = []; value.append(value)");
    assert!(list.starts_with("result[0][0]") && list.ends_with("or contains itself"), "{list}");
    let dict = failure(c"value = {}; value['a'] = [value]");
    assert!(dict.starts_with(r#"result["a"][0]["a"]"#) && dict.len() < 200, "{dict}");
    let endless = failure(
        c"
class Endless(dict):
    def items(self): return [('a', Endless(x=1))]
value = Endless(x=1)
",
    );
    assert!(endless.ends_with("or contains itself"), "{endless}");
}

#[test]
fn nesting_is_written_to_the_limit_and_refused_beyond_on_a_small_stack() {
    let code = c"
def nest(make, times):
    value = None
    for _ in range(times): value = make(value)
    return value
class D(dict): pass
class L(list): pass
makes = [lambda v: [v], lambda v: (v,), lambda v: {'a': v}, lambda v: {1: v}, lambda v: D(a=v), lambda v: L([v])]
";
    let check = move || {
        with(code, |_, names| {
            for make in get(&names, "makes").try_iter().unwrap() {
                let make = make.unwrap();
                let nest = |times: usize| get(&names, "nest").call1((&make, times)).unwrap();
                assert!(text(&nest(MAX_DEPTH)).unwrap().contains("null"));
                for times in [MAX_DEPTH + 1, 100_000] {
                    assert!(matches!(text(&nest(times)), Err(EncodeError::TooDeep { .. })));
                }
            }
        });
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(check).unwrap().join().unwrap();
}

#[test]
fn a_list_that_changes_under_the_walk_is_seen_as_changed() {
    let code = c"
class Hook(dict):
    def __init__(self, act): super().__init__(a=1); self.act = act
    def items(self): self.act(); return [('done', 1)]
grows = [1]; grows.insert(0, Hook(lambda: grows.append('late')))
shrinks = [1, 2, 3]; shrinks.insert(0, Hook(shrinks.clear))
replaced = [[i] for i in range(50)]; replaced.insert(0, Hook(lambda: replaced.__setitem__(slice(None), ['x'] * 51)))
inner = {}; outer = [inner]; inner['h'] = Hook(outer.clear); inner['after'] = ['kept']
freed = {'h': None}; freed['h'] = Hook(lambda: freed.__setitem__('h', 'other'))
";
    with(code, |_, names| {
        let text_of = |name: &str| text(&get(&names, name)).unwrap();
        assert_eq!(r#"[{"done": 1}, 1, "late"]"#, text_of("grows"));
        assert_eq!(r#"[{"done": 1}]"#, text_of("shrinks"));
        assert_eq!(format!(r#"[{{"done": 1}}{}]"#, r#", "x""#.repeat(50)), text_of("replaced"));
        assert_eq!(r#"[{"h": {"done": 1}, "after": ["kept"]}]"#, text_of("outer"));
        assert_eq!(r#"{"h": {"done": 1}}"#, text_of("freed"));
    });
}

#[test]
fn a_dict_that_changes_under_the_walk_is_a_runtime_error() {
    let code = c"
class Hook(dict):
    def __init__(self, act): super().__init__(a=1); self.act = act
    def items(self): self.act(); return [('done', 1)]
grows = {}; grows['h'] = Hook(lambda: grows.update(b=2)); grows['z'] = 1
shrinks = {}; shrinks['h'] = Hook(shrinks.clear); shrinks['z'] = 1
swaps = {}
def swap():
    key = len(swaps) + swaps.pop('n'); swaps['n'] = key; hook = swaps.pop(min(k for k in swaps if k != 'n'))
    swaps[str(key)] = hook
swaps['n'] = 0; swaps['0'] = Hook(swap); swaps['1'] = Hook(swap)
";
    with(code, |_, names| {
        let error_of = |name: &str| text(&get(&names, name)).unwrap_err().to_string();
        assert_eq!("result: RuntimeError: dictionary changed size during iteration", error_of("grows"));
        assert_eq!("result: RuntimeError: dictionary changed size during iteration", error_of("shrinks"));
        assert_eq!("result: RuntimeError: dictionary keys changed during iteration", error_of("swaps"));
    });
}

#[test]
fn an_exception_of_the_plugin_comes_out_with_its_place() {
    let raised = failure(
        c"
class D(dict):
    def items(self): raise KeyError('mine')
value = {'a': [D(x=1)]}
",
    );
    assert_eq!(r#"result["a"][0]: KeyError: 'mine'"#, raised);
    let pairs = failure(
        c"
class D(dict):
    def items(self): return ['ab']
value = D(x=1)
",
    );
    assert_eq!("result: ValueError: items must return 2-tuples", pairs);
    let endless = failure(
        c"
class L(list):
    def __iter__(self): return 5
value = L([1])
",
    );
    assert!(endless.contains("TypeError"), "{endless}");
}

#[test]
fn no_reference_is_kept_or_lost() {
    let code = c"
import sys
class Odd: pass
leaf, key, odd = ['leaf'], 'a key never seen before', Odd()
good = {key: leaf, 5: leaf, 'l': [leaf, leaf], 't': (leaf,)}
bad = {key: [leaf, {5: odd}]}
def counts(): return [sys.getrefcount(x) for x in (leaf, key, odd, good, bad)]
";
    with(code, |_, names| {
        let counts = || get(&names, "counts").call0().unwrap().extract::<Vec<usize>>().unwrap();
        let before = counts();
        for _ in 0..100 {
            text(&get(&names, "good")).unwrap();
            let error = text(&get(&names, "bad")).unwrap_err();
            assert!(matches!(error, EncodeError::Python { error, .. } if Python::attach(|py| {
                error.is_instance_of::<PyTypeError>(py)
            })));
        }
        assert_eq!(before, counts());
    });
}
