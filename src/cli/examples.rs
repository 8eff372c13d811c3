//! The examples that `--help` and the manual pages show: one list for all commands.
//!
//! Pure data. Promise: each command has some, and each of them is a command line that is accepted; the tests below
//! check both. Caveat: an example is not run by these tests.

use std::fmt::Write;

use clap::Command;

/// The words that lead to a command, and command lines with what they do.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "",
        &[
            ("plugincore", "serve ./plugins on http://127.0.0.1:9192/, or what plugincore.ini says"),
            ("plugincore -i shop.ini", "serve what shop.ini says"),
            ("plugincore serve --watch --open", "serve, load changed files at once, and open a browser"),
        ],
    ),
    (
        "serve",
        &[
            ("plugincore serve", "serve what plugincore.ini says, or ./plugins with safe defaults"),
            ("plugincore serve -i shop.ini --port 8080", "another port than that of shop.ini"),
            ("plugincore serve --plugins . --host 0.0.0.0", "the plugin files of this folder, for all of the network"),
            ("plugincore serve --watch --open", "load changed files at once, and open a browser"),
        ],
    ),
    (
        "check",
        &[
            ("plugincore check", "the ini file of this folder"),
            ("plugincore check -i shop.ini --json", "another one, for a program"),
            ("plugincore check --diff -i shop.ini", "what a reload of the running server would change"),
        ],
    ),
    (
        "routes",
        &[
            ("plugincore routes", "a table, for the server of this folder"),
            ("plugincore routes -i shop.ini --json", "for a program"),
        ],
    ),
    (
        "openapi",
        &[
            ("plugincore openapi", "the server of this folder"),
            ("plugincore openapi -i shop.ini > shop.json", "a file for a client generator"),
        ],
    ),
    (
        "init",
        &[
            ("plugincore init shop", "a project in the folder shop; then: cd shop && plugincore serve --watch"),
            ("plugincore init .", "in this folder"),
        ],
    ),
    (
        "new",
        &[
            ("plugincore new lamp", "plugins/lamp.py and tests/test_lamp.py, served at /lamp"),
            ("plugincore new door --auth --background", "one that asks for a key, with a task beside its requests"),
        ],
    ),
    (
        "key",
        &[
            ("plugincore key new --name door --scopes bell", "a key for the plugin bell, and its line of [keys]"),
            ("plugincore key list -i shop.ini", "the keys of an ini file"),
        ],
    ),
    (
        "key new",
        &[
            ("plugincore key new", "a key for all plugins"),
            ("plugincore key new --name door --scopes bell,lamp --expires 2030-12-31", "for two plugins, until a day"),
        ],
    ),
    ("key hash", &[("plugincore key hash < key.txt", "the hash of a key that clients have already")]),
    ("key list", &[("plugincore key list -i shop.ini", "names, scopes and expiry; never the keys")]),
    (
        "ctl",
        &[
            ("plugincore ctl status", "the server of this folder"),
            ("plugincore ctl -i shop.ini reload", "have that of shop.ini load everything again"),
            ("plugincore ctl plugins --json", "for a program"),
        ],
    ),
    ("ctl plugins", &[("plugincore ctl plugins", "a table of all plugins")]),
    (
        "ctl reload",
        &[("plugincore ctl reload greet", "one plugin"), ("plugincore ctl reload", "the ini file and all plugins")],
    ),
    ("ctl disable", &[("plugincore ctl disable greet", "its path responds with 503 until it is enabled")]),
    ("ctl enable", &[("plugincore ctl enable greet", "load it again")]),
    ("ctl previous", &[("plugincore ctl previous greet", "what it was before the last change")]),
    ("ctl drain", &[("plugincore ctl drain", "have a load balancer send no more requests")]),
    ("ctl stop", &[("plugincore ctl stop", "after the requests that are open")]),
    ("ctl upgrade", &[("plugincore ctl upgrade", "a new process takes over without a refused connection")]),
    ("ctl status", &[("plugincore ctl status --json", "for a program")]),
    (
        "compare",
        &[
            ("plugincore compare http://127.0.0.1:8080", "all plugins of the server that runs here"),
            ("plugincore compare http://old.example --access-log access.log", "what clients have asked for"),
            ("plugincore compare http://old.example --list paths.txt --json", "for a program"),
        ],
    ),
    (
        "completions",
        &[
            ("plugincore completions bash > /etc/bash_completion.d/plugincore", "for all users of bash"),
            ("plugincore completions zsh > ~/.zfunc/_plugincore", "for a folder of zsh's fpath"),
        ],
    ),
    ("man", &[("plugincore man /usr/local/share/man/man1", "for the executable, which brings none along")]),
    ("ctl log-level", &[("plugincore ctl log-level DEBUG", "details, until the server ends")]),
];

/// Gives each command its examples.
pub(super) fn with_examples(command: Command) -> Command {
    EXAMPLES.iter().fold(command, |command, (words, examples)| {
        let words: Vec<_> = words.split_whitespace().collect();
        at(command, &words, |command| command.after_help(text(examples)))
    })
}

/// Changes the command that `words` lead to.
fn at(command: Command, words: &[&str], change: impl FnOnce(Command) -> Command) -> Command {
    match words {
        [] => change(command),
        [first, rest @ ..] => command.mut_subcommand(first, |command| at(command, rest, change)),
    }
}

/// The section of examples; the heading is written as clap writes its own.
fn text(examples: &[(&str, &str)]) -> String {
    let heading = clap::builder::Styles::styled().get_header().to_owned();
    let mut text = format!("{heading}Examples:{heading:#}");
    for (line, meaning) in examples {
        // Writing to a text cannot fail.
        let _ = write!(text, "\n  {line}\n      {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;

    fn paths(command: &Command, path: &str, all: &mut Vec<String>) {
        all.push(path.trim().to_owned());
        for sub in command.get_subcommands() {
            paths(sub, &format!("{path} {}", sub.get_name()), all);
        }
    }

    #[test]
    fn every_command_has_examples() {
        let mut all = Vec::new();
        paths(&command(), "", &mut all);
        let known: Vec<_> = EXAMPLES.iter().map(|(words, _)| (*words).to_owned()).collect();
        all.sort();
        let mut sorted = known;
        sorted.sort();
        assert_eq!(all, sorted);
    }

    #[test]
    fn every_example_is_a_command_line() {
        for (line, _) in EXAMPLES.iter().flat_map(|(_, examples)| *examples) {
            let words = line.split_whitespace().take_while(|word| !["<", ">"].contains(word));
            let parsed = command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}
