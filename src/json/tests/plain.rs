//! Values that are written without running Python code, and the border to those that are not.

use super::*;

#[test]
fn what_is_odd_may_stand_at_any_place_of_a_plain_value() {
    assert_each_as_dumps(
        c"
import collections, enum
class S(str): pass
class I(int): pass
class F(float): pass
class L(list): pass
class T(tuple): pass
class D(dict): pass
class E(enum.IntEnum): A = 1
odd = [S('s'), I(7), F(1.5), L([1, [2]]), T((1, (2,))), D(a={'b': 1}), D(), E.A, 2**64, -2**64, 10**400, 1j, b'',
       collections.OrderedDict(x=[1]), {1: 'int'}, {None: {}}, {S('k'): [1]}, {2**70: 1}, {1.5: 2, 'a': 3}, {(1,): 2},
       '\\ud800', '\\u00e4', '\\u20ac\\U0001f600', {'\\u00e4': 1, '\\ud800': 2}, '\"', {'\\n': '\\\\'},
       float('nan'), float('inf'), -float('inf'), -0.0, 0.0, [], {}, (), '']
def places(x):
    yield from (x, [x], (x,), {'a': x}, [1, x], [x, 1], [x, x], (1, x, 2), {'a': 1, 'b': x}, {'a': x, 'b': 1})
    yield [{'id': 1, 'of': [x]}, {'id': 2, 'of': [x, None]}, {'id': x, 'of': x}, x]
    yield {'a': [[[{'b': ({'c': x},)}, 1], 2], 3], 'd': 4}
    yield [{'a': {'b': 1, 'c': 2}, 'd': 3}] * 3 + [x] + [{'a': {'b': 1, 'c': 2}, 'd': 3}] * 3
values = [value for x in odd for value in places(x)] + [[a, b] for a in odd for b in odd]
",
    );
}

#[test]
fn the_depth_that_is_walked_by_recursion_cannot_be_told() {
    assert_each_as_dumps(
        c"
class S(str): pass
class L(list): pass
def nest(makes, depth, leaf):
    for level in range(depth):
        leaf = makes[level % len(makes)](leaf)
    return leaf
row = lambda v: {'id': 1, 'inner': v, 'after': [1, 'x']}
makes = ([lambda v: [v]], [lambda v: (v,)], [lambda v: {'a': v}], [lambda v: [1, v, 2], row], [row],
         [lambda v: {1: v}, lambda v: [v]], [lambda v: L([v])] + [lambda v: [v]] * 66)
depths = [*range(8), *range(60, 70), *range(124, 134), 191, 192, 193, 194, 300]
leaves = (None, 'x', S('x'), [], {}, 2**70, 1j, {'a': S('b')}, [S('b'), {}])
values = [nest(m, depth, leaf) for m in makes for depth in depths for leaf in leaves]
",
    );
}

#[test]
fn keys_that_stand_in_the_same_place_are_told_apart() {
    assert_each_as_dumps(
        c"
def rows(keys): return [dict(zip(keys, range(len(keys)))) for _ in range(3)]
names = ['k' * n for n in range(80)]
values = [rows(names[:n]) for n in (0, 1, 2, 31, 32, 33, 80)]
values += [[{chr(97 + n % 26) * (n % 40): n} for n in range(300)]]
# The same text in other objects, other texts in the same place, and keys that need escapes among them.
values += [[{''.join(['na', 'me']): n, ''.join(['i', 'd']): n} for n in range(5)]]
values += [[{('a', 'b', '\"', '\\u00e4', 'a' * 27, 'a' * 28, 'a' * 29)[n % 7]: n, 'x': n} for n in range(30)]]
values += [[{'a': {'a': {'a': n, 'b': n}, 'b': n}, 'b': {'b': n, 'a': n}} for n in range(5)]]
values += [[{'a': 1, n: 2, 'b': 3} for n in range(5)], [{'a': 1}, {1: 1}, {'a': 2}, {None: 1}, {'a': 3}]]
",
    );
}

#[test]
fn the_buffer_grows_wherever_it_is_full() {
    assert_each_as_dumps(
        c"
parts = [[], {}, [[[[]]]], {'a': {'b': {}}}, 1, -2**63, 1.5, -1.2345678901234567e-300, None, True, False, 'x' * 15,
         'y' * 16, 'z' * 40, '\\u20ac' * 9, {'k' * 28: 0.5}, {'k' * 300: 'v' * 300}]
values = [['p' * pad, [part] * times, 'end'] for part in parts for times in (1, 9) for pad in range(0, 130, 3)]
values += [['p' * pad, eval('[' * 62 + ']' * 62), {'a': eval('[' * 62 + ']' * 62)}] for pad in range(300)]
",
    );
}

#[test]
fn integers_of_every_length_read_as_from_json_dumps() {
    assert_each_as_dumps(
        c"
edges = [10**n for n in range(25)] + [2**n for n in range(70)] + [12345678901234567890 // 10**n for n in range(20)]
values = [[sign * (edge + by) for edge in edges for by in (-1, 0, 1) for sign in (1, -1)], list(range(-20000, 20000))]
",
    );
}

#[test]
fn floats_of_few_decimals_and_their_neighbours_read_as_from_json_dumps() {
    assert_each_as_dumps(
        c"
import math, random
rng = random.Random(11)
units = [*range(20100), *(10**n + by for n in range(4, 18) for by in (-2, -1, 0, 1, 2))]
units += [rng.randrange(10**rng.randrange(1, 18)) for _ in range(20000)]
floats = [sign * unit / 10**places for unit in units for places in (0, 1, 4, 5) for sign in (1, -1)]
floats += [math.nextafter(f, to) for f in floats[::7] for to in (math.inf, -math.inf)]
floats += [n / 8 for n in range(3000)] + [2.0**-n for n in range(60)]
values = [floats]
",
    );
}

#[test]
fn code_that_runs_in_the_middle_may_drop_what_is_walked() {
    let code = c"
class Hook(dict):
    def __init__(self, act): super().__init__(a=1); self.act = act
    def items(self): self.act(); return [('done', 1)]
def nest(value, depth):
    for _ in range(depth): value = {'v': [value, ''.join(['af', 'ter'])]}
    return value
root = []
root.append(nest(Hook(root.clear), 100))
rows = [{''.join(['k', str(n)]): n, 'h': None} for n in range(5)]
def renew():
    rows[3:] = [{''.join(['n', str(n)]): n} for n in range(5)]
rows[2]['h'] = Hook(renew)
";
    with(code, |_, names| {
        let nested = format!("[{}{}{}]", r#"{"v": ["#.repeat(100), r#"{"done": 1}"#, r#", "after"]}"#.repeat(100));
        assert_eq!(nested, text(&get(&names, "root")).unwrap());
        assert_eq!(
            r#"[{"k0": 0, "h": null}, {"k1": 1, "h": null}, {"k2": 2, "h": {"done": 1}}, {"n0": 0}, {"n1": 1}, {"n2": 2}, {"n3": 3}, {"n4": 4}]"#,
            text(&get(&names, "rows")).unwrap()
        );
    });
}

#[test]
fn the_place_of_an_error_leads_through_plain_containers() {
    let error = failure(c"value = [{'id': 1, 'of': {'a': 2}}, {'id': 1, 'of': {'a': [0, (b'',)]}}]");
    assert_eq!(r#"result[1]["of"]["a"][1][0]: TypeError: Object of type bytes is not JSON serializable"#, error);
    let error = failure(c"value = {'a' * 40: {'\\u00e4': {'\"': {'b': 1, 'c': ['x' * 3000, b'']}}}}");
    let key = "a".repeat(40);
    let place = format!(r#"result["{key}"]["\u00e4"]["\""]["c"][1]"#);
    assert_eq!(format!("{place}: TypeError: Object of type bytes is not JSON serializable"), error);
}
