//! Reading a whole ini file, from Rust's side.

use super::*;
use crate::edge::config::settings::Settings;
use pyo3::types::{PyList, PyModule};

/// Makes `plugincore.configfile` importable without the package's own `__init__`, which wants the built module.
fn attached<T>(run: impl FnOnce(Python<'_>) -> T) -> T {
    Python::initialize();
    Python::attach(|py| {
        let modules = py.import("sys").and_then(|sys| sys.getattr("modules")).expect("sys has it");
        if !modules.contains("plugincore").expect("it is a dict") {
            let package = PyModule::new(py, "plugincore").expect("a name is enough");
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/python/plugincore");
            let path = PyList::new(py, [folder]).expect("a list");
            package.setattr("__path__", path).expect("a module takes attributes");
            modules.set_item("plugincore", package).expect("it is a dict");
        }
        run(py)
    })
}

fn document(py: Python<'_>, text: &str) -> ResolvedConfig {
    let ini = parser::parse(py, Path::new("t.ini"), text).expect("the text is an ini file");
    checked(py, &ini)
}

#[test]
fn plugins_get_a_config_of_the_document_with_the_logging_level() {
    attached(|py| {
        let document = document(py, "[network]\nport=int:80\nbig=int:123456789012345678901234567890\n[empty]\n");
        let config = to_python(py, &document).expect("names are right").into_bound(py);
        set_logging_level(py, &config, "DEBUG").expect("it is a Config");
        let master = || {
            let module = py.import("plugincore.configfile").expect("it is there");
            module.getattr("masterConfig").expect("it is there")
        };
        assert!(!master().is(&config), "the server does not go by it yet");
        proclaim(&config).expect("a module takes attributes");
        assert!(master().is(&config));
        let seen = |expression: &std::ffi::CStr| {
            let locals = PyDict::new(py);
            locals.set_item("c", &config).expect("a dict takes it");
            py.eval(expression, None, Some(&locals)).and_then(|value| value.extract::<bool>()).expect("it is valid")
        };
        assert!(seen(c"c.network.port == 80 and c['network']['big'] == 123456789012345678901234567890"));
        assert!(seen(c"c.logging.level == c['logging']['level'] == 'DEBUG' and c.logging.top_config is c"));
        assert!(seen(c"'empty' in c"));
    });
}

#[test]
fn names_that_plugins_could_not_use_are_told_with_the_other_errors() {
    attached(|py| {
        let document = document(py, "[paths]\nplugins=plugins\nprint=1\n[network]\nport=int:x\n[while]\n");
        let found: Vec<_> = Settings::from_config(&document).0.expect_err("three are wrong").0;
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(found[0].starts_with("t.ini:3: [paths] print: 'print' is a Python builtin"), "{found:#?}");
        assert!(found[1].starts_with("t.ini:5: [network] port: what follows int:"), "{found:#?}");
        assert!(found[2].starts_with("t.ini:6: [while]: 'while' is a Python keyword"), "{found:#?}");
    });
}

#[test]
fn a_file_that_is_not_there_is_an_error_for_the_host() {
    let found = attached(|py| read(py, Path::new(""), Path::new("/nowhere/t.ini"), &[]))
        .expect_err("it is not there")
        .to_string();
    assert!(found.starts_with("/nowhere/t.ini: cannot be read: "), "{found}");
}

#[test]
fn the_sample_file_serves_the_folder_on_loopback_without_complaint() {
    let (settings, warnings) =
        attached(|py| Settings::from_config(&document(py, include_str!("../../../../plugincore.ini"))));
    let settings = settings.expect("the sample is right");
    let (defaults, _) = attached(|py| Settings::from_config(&read_defaults(py, Path::new("."), &[])));
    let defaults = defaults.expect("the defaults are right");
    let (listen_line, shown) = (settings.listen_line.clone(), settings.shown.clone());
    let expected = Settings { listen_line, shown, ..defaults };
    assert_eq!(format!("{settings:?}"), format!("{expected:?}"));
    assert!(warnings.is_empty(), "{warnings:?}");
}
