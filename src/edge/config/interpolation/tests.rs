//! What references become, and which are refused.

use super::super::ini::Section;
use super::*;

fn ini(sections: &[(&str, &[(&str, &str)])]) -> Ini {
    let entries = |entries: &[(&str, &str)]| {
        entries.iter().enumerate().map(|(at, (key, text))| Entry::new(*key, *text, at + 2)).collect()
    };
    let section =
        |(name, list): &(&str, &[(&str, &str)])| Section { name: (*name).into(), line: 1, entries: entries(list) };
    Ini {
        path: "t.ini".into(),
        defaults: vec![Entry::new("base", "/srv", 1)],
        sections: sections.iter().map(section).collect(),
    }
}

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("int:5".into()),
        "HOME" => Some("/home/me".into()),
        "PRICE" => Some("5$".into()),
        _ => None,
    }
}

/// The value of `[s] x` beside an `[a]` of each type.
fn value_of(text: &str) -> Result<Value, String> {
    let a: &[(&str, &str)] = &[
        ("n", "int:42"),
        ("flag", "bool:enabled"),
        ("l", "list:x int:4 &"),
        ("t", "two words"),
        ("kind", "int"),
        ("again", "${n}"),
    ];
    let config = resolve(&ini(&[("a", a), ("s", &[("x", text), ("own", "here")])]), environment);
    let item = config.host_section("s").and_then(|section| section.item("x")).expect("it was given");
    item.value.clone().ok_or_else(|| config.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn text(t: &str) -> Result<Value, String> {
    Ok(Value::Text(t.into()))
}

fn list(items: &[Value]) -> Result<Value, String> {
    Ok(Value::List(items.to_vec()))
}

#[test]
fn references_are_replaced_inside_a_text() {
    assert_eq!(value_of("at ${OWN} and ${a:t}"), text("at here and two words"));
    assert_eq!(value_of("${DEFAULT:base}/x"), text("/srv/x"));
    assert_eq!(value_of("text ${a:n} ${a:l}"), text("text 42 x 4"));
}

#[test]
fn a_lone_reference_takes_the_type_of_what_it_refers_to() {
    assert_eq!(value_of("${a:n}"), Ok(Value::Int(42)));
    assert_eq!(value_of("${a:again}"), Ok(Value::Int(42)));
    assert_eq!(value_of("${a:flag}"), Ok(Value::Bool(true)));
    assert_eq!(value_of("${a:l}"), list(&[Value::Text("x".into()), Value::Int(4)]));
}

#[test]
fn references_are_resolved_before_the_conversion() {
    assert_eq!(value_of("int:${a:n}"), Ok(Value::Int(42)));
    assert_eq!(value_of("int:1${a:n}"), Ok(Value::Int(142)));
    assert_eq!(value_of("float: ${a:n}.5"), Ok(Value::Float(42.5)));
    assert_eq!(value_of("bool:${a:flag}"), Ok(Value::Bool(true)));
    assert_eq!(value_of("${a:kind}:5"), text("int:5"), "a prefix counts only where it is written");
}

#[test]
fn list_items_may_be_references() {
    let t = |t: &str| Value::Text(t.into());
    assert_eq!(value_of("list:${a:n} b"), list(&[Value::Int(42), t("b")]));
    assert_eq!(value_of("list:${a:l} ${a:t} & c"), list(&[t("x"), Value::Int(4), t("two"), t("words")]));
    assert_eq!(value_of("list:n${a:n} int:${a:n}"), list(&[t("n42"), Value::Int(42)]));
}

#[test]
fn environment_variables_are_replaced_first() {
    assert_eq!(value_of("${ENV:PORT}"), Ok(Value::Int(5)));
    assert_eq!(value_of("${ENV:HOME}/x"), text("/home/me/x"));
    assert_eq!(value_of("[${ENV:NOT_SET}]"), text("[]"));
    assert_eq!(value_of("list:${ENV:HOME} b"), list(&[Value::Text("/home/me".into()), Value::Text("b".into())]));
    assert!(value_of("${ENV:PRICE}").is_err());
}

#[test]
fn two_dollars_are_one() {
    assert_eq!(value_of("$$5 $${a:n}"), text("$5 ${a:n}"));
}

#[test]
fn a_dollar_that_begins_nothing_stays_after_a_prefix() {
    let t = |t: &str| Value::Text(t.into());
    assert_eq!(value_of("list:$5 a$ $$ ${a:n}$ ${"), list(&[t("$5"), t("a$"), t("$"), t("42$"), t("${")]));
    assert_eq!(value_of("bool:$"), Ok(Value::Bool(false)));
    assert!(value_of("list:a ${none}").is_err(), "a reference to nothing is a mistake everywhere");
}

#[test]
fn mistakes_name_file_line_and_remedy() {
    for (given, expected) in [
        ("costs $5", "t.ini:2: [s] x: a $ is not followed by $ or by {name} (write $$ for a plain dollar, "),
        ("${a:n", "t.ini:2: [s] x: a $ is not followed"),
        ("${}", "t.ini:2: [s] x: a reference needs a name and at most one colon"),
        ("${a:b:c}", "t.ini:2: [s] x: a reference needs a name"),
        ("${a:flog}", "t.ini:2: [s] x: refers to flog, which [a] does not have (is flag meant?)"),
        ("${A:n}", "t.ini:2: [s] x: refers to ${A:n}, but there is no section [A]"),
        ("int:x", "t.ini:2: [s] x: what follows int: is not a whole number"),
        ("list:a float:y", "t.ini:2: [s] x: what follows float: is not a number"),
        ("${x}", "t.ini:2: [s] x: refers to itself: s:x -> s:x"),
    ] {
        let seen = value_of(given).expect_err(given);
        assert!(seen.starts_with(expected), "{seen}");
    }
}

#[test]
fn a_cycle_is_shown_once() {
    let config = resolve(&ini(&[("s", &[("a", "${b}"), ("b", "${c}"), ("c", "${a}"), ("d", "${a}")])]), environment);
    let seen: Vec<_> = config.errors.iter().map(ToString::to_string).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains("s:a -> s:b -> s:c -> s:a"), "{seen:?}");
}

#[test]
fn a_long_chain_is_refused_and_not_a_stack_overflow() {
    let texts: Vec<_> = (0..200).map(|at| (format!("k{at}"), format!("${{k{}}}", at + 1))).collect();
    let entries = texts.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect::<Vec<_>>();
    let config = resolve(&ini(&[("s", &entries)]), environment);
    assert!(config.errors.iter().any(|error| error.message.contains("deeper than 64")));
}

#[test]
fn a_text_from_an_override_is_typed_but_its_dollars_are_plain() {
    let mut ini = ini(&[("s", &[("x", ""), ("y", ""), ("z", "[${x}]")])]);
    for (entry, text) in ini.sections[0].entries.iter_mut().zip(["$5 ${no:thing}", "list:a int:${b", "-"]).take(2) {
        entry.text = text.into();
        entry.replaced_by = Some(SourceLocation::Variable("S_X".into()));
    }
    let config = resolve(&ini, environment);
    let item = |key| config.host_section("s").and_then(|s| s.item(key)).and_then(|i| i.value.clone());
    assert_eq!(item("x"), Some(Value::Text("$5 ${no:thing}".into())));
    assert_eq!(item("z"), Some(Value::Text("[$5 ${no:thing}]".into())));
    assert_eq!(item("y"), None);
    assert!(config.errors[0].to_string().starts_with("environment variable S_X: [s] y: what follows int:"));
}
