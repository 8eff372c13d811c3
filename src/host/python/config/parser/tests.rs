//! What Python's own reader of ini files hands over.

use super::*;

fn ini(text: &str) -> Result<Ini, Vec<String>> {
    Python::initialize();
    Python::attach(|py| parse(py, Path::new("t.ini"), text))
        .map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

/// (key, text, line, inherited) of a section.
fn entries<'a>(ini: &'a Ini, section: &str) -> Vec<(&'a str, &'a str, usize, bool)> {
    let section = ini.sections.iter().find(|one| one.name == section).expect("it was given");
    section.entries.iter().map(|e| (e.key.as_str(), e.text.as_str(), e.line, e.inherited)).collect()
}

#[test]
fn every_key_knows_its_line_whatever_stands_between() {
    let read = ini("# head\n[a]\nX = 1\n\n; note\nlong = one\n  two\n[b]\r\nY: 2\r\n[empty]\n").expect("right");
    assert_eq!(entries(&read, "a"), [("x", "1", 3, false), ("long", "one\ntwo", 6, false)]);
    assert_eq!(entries(&read, "b"), [("y", "2", 9, false)]);
    assert_eq!(read.sections.iter().map(|s| s.line).collect::<Vec<_>>(), [2, 8, 10]);
}

#[test]
fn defaults_come_first_and_keep_their_line() {
    let read = ini("[s]\nown=1\nboth=2\n[DEFAULT]\nboth=0\nbase=/srv\n").expect("right");
    assert_eq!(entries(&read, "s"), [("both", "2", 3, false), ("base", "/srv", 6, true), ("own", "1", 2, false)]);
    assert_eq!(read.defaults.iter().map(|e| e.line).collect::<Vec<_>>(), [5, 6]);
}

#[test]
fn what_configparser_refuses_is_told_with_every_line() {
    let told = |text| ini(text).expect_err(text);
    assert_eq!(told("x=1\n"), ["t.ini:1: text before the first section (begin with a line like [network])"]);
    assert_eq!(told("[a]\n[b]\n[a]\n"), ["t.ini:3: [a]: stands twice in the file (put everything into one section)"]);
    assert_eq!(told("[a]\nx=1\nX=2\n"), ["t.ini:3: [a] x: stands twice in the section (keep one of them)"]);
    let wrong = "is neither [section] nor key = value (add the = sign)";
    assert_eq!(told("[a]\nsecret\nx=1\nword\n"), [format!("t.ini:2: {wrong}"), format!("t.ini:4: {wrong}")]);
}

#[test]
fn interpolation_is_left_alone_and_percent_is_plain() {
    let read = ini("[s]\nx=%(y)s 100% ${z}\n").expect("right");
    assert_eq!(entries(&read, "s")[0].1, "%(y)s 100% ${z}");
}

#[test]
fn a_byte_order_mark_is_dropped_and_other_encodings_are_refused() {
    let file = |name: &str, bytes: &[u8]| {
        let path = std::env::temp_dir().join(format!("plugincore-{}-{name}.ini", std::process::id()));
        std::fs::write(&path, bytes).expect("the folder is writable");
        let read = text(Path::new(""), &path);
        std::fs::remove_file(&path).expect("it was just written");
        read.map_err(|errors| errors.to_string())
    };
    assert_eq!(file("bom", b"\xef\xbb\xbf[a]\n").as_deref(), Ok("[a]\n"));
    let told = file("latin", b"[a]\nx=caf\xe9\n").expect_err("it is Latin-1");
    assert!(told.ends_with(".ini:2: is not UTF-8 (save the file as UTF-8)"), "{told}");
}
