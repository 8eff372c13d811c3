//! What bodies are read as: as `json.loads` reads them.

use super::*;

fn decoded<'py>(py: Python<'py>, body: &[u8]) -> Result<(bool, Bound<'py, PyDict>), crate::json::decode::DecodeError> {
    let target = PyDict::new(py);
    target.set_item("host", "kept").unwrap();
    let result = decode_into(body, &target, |_| false);
    if !matches!(result, Ok(true)) {
        assert_eq!(1, target.len(), "a body that is no object adds nothing");
    }
    result.map(|object| (object, target))
}

/// The decoded body as `repr`, which tells 1 from 1.0 and shows NaN.
fn shown(py: Python<'_>, body: &[u8]) -> String {
    match decoded(py, body) {
        Ok((true, target)) => {
            target.del_item("host").unwrap();
            target.repr().unwrap().to_string()
        }
        Ok((false, _)) => "no object".to_owned(),
        Err(_) => "error".to_owned(),
    }
}

fn loads(py: Python<'_>, body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        return "error".to_owned();
    };
    match py.import("json").unwrap().call_method1("loads", (text,)) {
        Ok(value) if value.is_instance_of::<PyDict>() => value.repr().unwrap().to_string(),
        Err(_) if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') => "error".to_owned(),
        _ => "no object".to_owned(),
    }
}

fn assert_as_loads(py: Python<'_>, body: &[u8]) {
    assert_eq!(loads(py, body), shown(py, body), "{}", String::from_utf8_lossy(body));
}

#[test]
fn an_object_reads_as_from_json_loads() {
    with(c"", |py, _| {
        for body in [
            r"{}",
            r#" { "a" : 1 , "b" : [ ] } "#,
            r#"{"a": 1, "a": 2, "b": {"c": 1, "c": null}}"#,
            r#"{"a": [true, false, null, "x\u00e4\n\"\\\/\b\f\r\t", "\ud83d\ude00", "ä€😀"]}"#,
            r#"{"a": [0, -0, -0.0, 1.0, 1e3, 1E-2, 1.5e+300, 1e400, -1e400, 1e-400, 5e-324, 0.1, 123456.123456789]}"#,
            r#"{"a": [NaN, Infinity, -Infinity]}"#,
            r#"{"a": [9223372036854775807, 9223372036854775808, -9223372036854775808, -9223372036854775809]}"#,
            r#"{"a": 123456789012345678901234567890123456789012345678901234567890, "b": -99999999999999999999}"#,
            r#"{"a": 12345678901234567890123.5, "b": 12345678901234567890e5, "c": 0.1234567890123456789012345}"#,
            r#"{"": {"": ""}}"#,
        ] {
            assert_as_loads(py, body.as_bytes());
        }
    });
}

#[test]
fn lone_surrogates_are_accepted_as_json_loads_does() {
    with(c"", |py, _| {
        for body in [
            r#"{"a": "\ud800"}"#,
            r#"{"a": "\udc00x"}"#,
            r#"{"\ud800": 1, "b": 2}"#,
            r#"{"a": "\ud800\ud800\udc00"}"#,
            r#"{"a": "\ud800\n"}"#,
            r#"{"a": "\ud800\u0041"}"#,
            r#"{"a": "\ud800", "b": }"#,
            r#"{"a": "\ud800"} x"#,
        ] {
            assert_as_loads(py, body.as_bytes());
        }
    });
}

#[test]
fn what_is_not_an_object_adds_nothing() {
    with(c"", |py, _| {
        for body in ["", " ", "1", "null", "[1]", r#"[["a", 1]]"#, r#""{""#, "a=1&b=2", "\u{feff}{}"] {
            assert_eq!("no object", shown(py, body.as_bytes()), "{body}");
        }
    });
}

#[test]
fn a_malformed_object_is_an_error_with_its_place_and_adds_nothing() {
    with(c"", |py, _| {
        for body in [
            r"{",
            r#"{"a"}"#,
            r#"{"a": 1"#,
            r#"{"a": 1,}"#,
            r#"{"a": 1} x"#,
            r#"{"a": 1}{}"#,
            r"{'a': 1}",
            r"{a: 1}",
            r#"{"a": 01}"#,
            r#"{"a": 1.}"#,
            r#"{"a": .5}"#,
            r#"{"a": +1}"#,
            r#"{"a": -}"#,
            r#"{"a": 1e}"#,
            r#"{"a": nan}"#,
            r#"{"a": -NaN}"#,
            r#"{"a": tru}"#,
            r#"{"a": [1,]}"#,
            r#"{"a": "\x"}"#,
            r#"{"a": "\u12"}"#,
            "{\"a\": \"\n\"}",
            "{\"a\": \"\0\"}",
            r"{1: 2}",
            r#"{"a": 0x1}"#,
            r#"{"a" 1}"#,
            r#"{"a": "b"#,
        ] {
            assert_eq!("error", loads(py, body.as_bytes()), "{body}");
            assert_eq!("error", shown(py, body.as_bytes()), "{body}");
        }
        assert_eq!("error", shown(py, b"{\"a\": \"\xff\"}"));
        assert_eq!("error", shown(py, b"{\"a\": \"\\ud800\xff\"}"));
        let error = decoded(py, b"{\"a\": 1,\n \"b\": }").unwrap_err().to_string();
        assert_eq!("the body is not valid JSON: expected value at line 2 column 7", error);
    });
}

#[test]
fn an_int_above_the_limit_of_digits_in_a_body_is_an_error() {
    with(c"", |py, _| {
        for digits in [4300, 4301, 10_000] {
            for body in [
                format!(r#"{{"a": {}}}"#, "7".repeat(digits)),
                format!(r#"{{"a": -{}}}"#, "7".repeat(digits)),
                format!(r#"{{"a": {}.5}}"#, "7".repeat(digits)),
                format!(r#"{{"a": {}e-4200}}"#, "7".repeat(digits)),
                format!(r#"{{"a": 0.{}}}"#, "7".repeat(digits)),
            ] {
                assert_as_loads(py, body.as_bytes());
            }
        }
    });
}

#[test]
fn skipped_keys_are_left_out_at_the_top_only() {
    with(c"", |py, _| {
        let target = PyDict::new(py);
        let body = br#"{"log": 1, "a": {"log": 2}, "log": 3, "\ud800": 4}"#;
        assert!(decode_into(body, &target, |key| key == "log").unwrap());
        assert_eq!(r"{'a': {'log': 2}, '\ud800': 4}", target.repr().unwrap().to_string());
    });
}

#[test]
fn a_body_nested_too_deep_is_refused_on_a_small_stack() {
    let check = || {
        with(c"", |py, _| {
            let arrays = |depth: usize| format!(r#"{{"a": {}{}}}"#, "[".repeat(depth), "]".repeat(depth));
            let objects = |depth: usize| format!("{}1{}", r#"{"a": "#.repeat(depth), "}".repeat(depth));
            assert!(decoded(py, arrays(MAX_DEPTH - 1).as_bytes()).is_ok());
            assert!(decoded(py, objects(MAX_DEPTH).as_bytes()).is_ok());
            for body in [arrays(MAX_DEPTH), objects(MAX_DEPTH + 1), arrays(1_000_000), "{\"a\":".repeat(1_000_000)] {
                assert!(matches!(decoded(py, body.as_bytes()), Err(crate::json::decode::DecodeError::TooDeep)));
            }
        });
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(check).unwrap().join().unwrap();
}

#[test]
fn random_bodies_whole_and_damaged_read_as_from_json_loads() {
    let code = c"
exec(RANDOM_VALUES)
import json
MARKS = '{}[]\",:\\\\ 0123456789.eE+-nulltrufasNI\\n\\t/'
def body(i):
    rng = random.Random(i)
    text = None
    while text is None:
        try: text = json.dumps({'v': nested(rng, 5, 0), string(rng): scalar(rng)}, ensure_ascii=rng.random() < 0.5)
        except ValueError: pass
    if i % 3 == 0:
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice((rng.choice(MARKS), '')) + text[place + rng.randrange(2):]
    return text.encode('utf-8', 'replace')
";
    with(c"", |py, names| {
        names.set_item("RANDOM_VALUES", PyString::new(py, RANDOM_VALUES.to_str().unwrap())).unwrap();
        py.run(code, Some(&names), None).unwrap();
        let make = get(&names, "body");
        for index in 0..6000 {
            assert_as_loads(py, &make.call1((index,)).unwrap().extract::<Vec<u8>>().unwrap());
        }
    });
}

/// Puts each text that the function `bodies` of `code` yields to both decoders.
fn assert_each_as_loads(code: &CStr) {
    with(code, |py, names| {
        for body in get(&names, "bodies").call0().unwrap().try_iter().unwrap() {
            assert_as_loads(py, body.unwrap().extract::<String>().unwrap().as_bytes());
        }
    });
}

#[test]
fn the_end_of_a_string_is_found_at_every_place() {
    assert_each_as_loads(
        c"
def bodies():
    odd = ['', chr(0), chr(31), chr(92), chr(92) * 2, chr(92) + 'n', chr(34), chr(127), chr(128), chr(255), chr(256),
           chr(65535), chr(65536)]
    odd += [chr(92) + 'u00e4', chr(92) + 'ud83d' + chr(92) + 'ude00', chr(92) + 'ud83d', chr(92) + 'u12']
    for length in range(40):
        for part in odd:
            text = 'x' * length + part + 'y' * (length % 7)
            yield '{' + chr(34) + 'a' + chr(34) + ':' + chr(34) + text + chr(34) + '}'
            yield '{' + chr(34) + text + chr(34) + ':1}' + ' ' * 20
",
    );
}

#[test]
fn a_body_that_was_cut_anywhere_reads_as_from_json_loads() {
    assert_each_as_loads(
        c"
import json
def bodies():
    whole = json.dumps({'a': [1, -2.5e-7, True, None, {'b': [], 'c': {}}], 'text': ['x' * 20, chr(228) * 9, chr(128512)],
                        'n': [10**17, 10**18, -10**19, float('inf'), -float('inf'), float('nan')], '': False}, indent=1)
    for end in range(len(whole) + 1):
        yield whole[:end]
        yield whole[:end] + '}'
        yield whole[:end] + whole[end + 1:]
",
    );
}

#[test]
fn numbers_of_every_length_read_as_from_json_loads() {
    assert_each_as_loads(
        c"
import random
rng = random.Random(7)
def digits(count): return str(rng.randrange(1, 10)) + ''.join(rng.choice('0123456789') for _ in range(count - 1))
def bodies():
    ints = [sign + digits(count) for count in range(1, 40) for sign in ('', '-') for _ in range(4)]
    ints += [str(n + d) for n in (2**53, 2**63, 2**64, 10**18, 10**19) for d in (-1, 0, 1)] + ['0', '-0', '00', '-01']
    for whole in ints:
        yield '{%sa%s: %s}' % (chr(34), chr(34), whole)
        for places in (1, 2, 5, 15, 17, 22, 23, 30):
            for exponent in ('', 'e0', 'E+5', 'e-22', 'e300', 'e-330', 'e', 'e+'):
                yield '{%sa%s: [%s.%s%s]}' % (chr(34), chr(34), whole, digits(places), exponent)
                yield '{%sa%s: [0.%s%s]}' % (chr(34), chr(34), '0' * places + whole.strip('-'), exponent)
",
    );
}

#[test]
fn keys_that_repeat_are_told_apart() {
    assert_each_as_loads(
        c"
import json
def bodies():
    keys = [c * n for c in 'abcxyz' for n in (0, 1, 2, 3, 8, 16, 31, 32, 33, 40)]
    keys += ['a' + m + 'z' * n for m in 'bcdefgh' for n in range(1, 5)] + ['k%d' % n for n in range(200)]
    yield json.dumps({'a': [{key: n, key + 'e': -n} for n in range(3) for key in keys]})
",
    );
}

#[test]
fn what_was_encoded_decodes_to_the_same() {
    with(c"value = {'a': [1, 2.5, 'x\\u20ac', None, True, {'b': []}], 'n': 2**100}", |py, names| {
        let value = get(&names, "value");
        let (_, target) = decoded(py, text(&value).unwrap().as_bytes()).unwrap();
        target.del_item("host").unwrap();
        assert!(target.eq(&value).unwrap());
        assert!(target.get_item("a").unwrap().unwrap().cast_exact::<PyList>().is_ok());
    });
}
