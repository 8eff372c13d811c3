//! What JSON costs on the Python thread, next to CPython's own `json` and, where it is installed, orjson.
//!
//! `cargo bench --bench json`; put orjson within reach by `PYTHONPATH`. Caveat: the others are called through Python
//! objects, which costs some 30 ns a call that ours are not charged.

use std::ffi::CStr;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plugincore::measured::{decode_into, encode};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// Values such as handlers return, all dicts, so that the text of each can be read as a body, too.
const VALUES: &CStr = c"
import random
rng = random.Random(5)
def record(i):
    return {'id': i, 'name': f'user number {i}', 'active': i % 3 == 0, 'score': round(rng.uniform(0, 100), 2),
            'tags': ['alpha', 'beta', 'gamma'], 'address': {'street': f'{i} Main Street', 'country': None}}
values = {
    'small': {'message': 'hello', 'ok': True, 'n': 42},
    '1 KB': {'users': [record(i) for i in range(7)]},
    '100 KB': {'users': [record(i) for i in range(660)]},
    'rows': {'rows': [{'id': n, 'name': f'sensor number {n}', 'value': n * 1.25, 'active': n % 2 == 0,
                       'tags': ['indoor', 'floor']} for n in range(1000)]},
    'floats': {'a': [rng.random() for _ in range(5000)]},
    'rounded floats': {'a': [round(rng.uniform(0, 1000), 2) for _ in range(5000)]},
    'text': {'a': ['The quick brown fox jumps over the lazy dog. ' * 10] * 220},
    'escapes': {'a': ['line \"one\"' + chr(10) + 'line two' * 5] * 1500},
    'umlauts': {'a': [chr(228) + 'hnlich ' + chr(252) + 'ber ' * 3] * 3000},
}
";

fn writing(criterion: &mut Criterion) {
    compare(criterion, "write", "dumps", |bencher, _, value| {
        bencher.iter(|| {
            let mut out = Vec::with_capacity(256);
            encode(value, &mut out).expect("the values have a JSON form");
            black_box(out)
        });
    });
}

fn reading(criterion: &mut Criterion) {
    compare(criterion, "read", "loads", |bencher, text, value| {
        bencher.iter(|| {
            let target = PyDict::new(value.py());
            decode_into(text, &target, |_| false).expect("the text is JSON");
            black_box(target)
        });
    });
}

/// Measures `ours` with the text and the object of each value, and the function `theirs` of the other modules.
fn compare(
    criterion: &mut Criterion,
    group: &str,
    theirs: &str,
    ours: impl Fn(&mut criterion::Bencher<'_>, &[u8], &Bound<'_, PyAny>),
) {
    Python::initialize();
    Python::attach(|py| {
        let names = PyDict::new(py);
        py.run(VALUES, Some(&names), None).expect("the values can be made");
        let values = names.get_item("values").ok().flatten().expect("they have just been made");
        let mut group = criterion.benchmark_group(group);
        for (name, value) in values.cast::<PyDict>().expect("a dict") {
            let mut text = Vec::new();
            encode(&value, &mut text).expect("the values have a JSON form");
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new("plugincore", &name), |bencher| ours(bencher, &text, &value));
            for module in ["json", "orjson"] {
                let Ok(function) = py.import(module).and_then(|module| module.getattr(theirs)) else { continue };
                let argument = if theirs == "loads" { PyBytes::new(py, &text).into_any() } else { value.clone() };
                group.bench_function(BenchmarkId::new(module, &name), |bencher| {
                    bencher.iter(|| black_box(function.call1((&argument,)).expect("it knows these values")));
                });
            }
        }
    });
}

criterion_group!(benches, writing, reading);
criterion_main!(benches);
