//! What an ini file says, read into settings.

use super::*;
use crate::edge::config::fields::{EventLoop, ShowErrors, UNLIMITED, WatchMode};
use crate::edge::config::ini::{Entry, Ini, Section};
use crate::edge::config::interpolation::resolve;
use crate::edge::config::proxies::TrustedProxies;
use crate::edge::config::settings::cors::CorsSettings;
use crate::edge::config::settings::limits::{BodyTimes, LimitSettings};
use crate::edge::config::settings::plugins::{ParkAfter, PluginSettings};
use crate::edge::config::settings::tls::{ClientAuthority, PemFile, TlsFiles, TlsSettings, TlsVersion};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Settings of a file given in a simplified form: one `[section]` or `key=text` a line.
fn read(text: &str) -> (Result<Settings, ConfigErrors>, Vec<String>) {
    let mut ini = Ini { path: "t.ini".into(), ..Ini::default() };
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            ini.sections.push(Section { name: name.into(), line: at + 1, entries: vec![] });
        } else if let (Some((key, text)), Some(section)) = (line.split_once('='), ini.sections.last_mut()) {
            section.entries.push(Entry::new(key, text, at + 1));
        }
    }
    let (settings, warnings) = settings(&resolve(&ini, |_| None));
    (settings, warnings.iter().map(ToString::to_string).collect())
}

/// Settings and warnings of a file with the required section.
pub(super) fn good(text: &str) -> (Settings, Vec<String>) {
    let (settings, warnings) = read(&format!("[paths]\nplugins=./plugins\n{text}"));
    (settings.expect("the file is right"), warnings)
}

/// Errors of a file with the required section on the first two lines.
pub(super) fn errors(text: &str) -> Vec<String> {
    let (settings, _) = read(&format!("[paths]\nplugins=./plugins\n{text}"));
    settings.expect_err("the file is wrong").0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_with_only_the_folder_gets_safe_defaults() {
    let (settings, warnings) = good("");
    assert_eq!(settings.listen, [SocketAddr::from(([127, 0, 0, 1], 9192)).into()]);
    assert_eq!(settings.server, ServerSettings::default());
    assert!(settings.tls.is_none() && settings.apikey.is_none() && settings.cors.is_none() && !settings.legacy_status);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn a_file_must_name_the_folder_of_the_plugins() {
    let seen = read("[network]\nport=80").0.unwrap_err().to_string();
    assert!(seen.starts_with("t.ini: [paths] plugins: is missing"), "{seen}");
}

#[test]
fn every_error_is_shown_at_once_in_file_order() {
    let seen = errors(
        "[network]\nport=http\nbindto=\n[server]\nread_timeout=0\nbody_limit=int:x\n[compat]\nlegacy_status=maybe",
    );
    assert_eq!(seen.len(), 5, "{seen:#?}");
    assert!(seen[0].starts_with("t.ini:4: [network] port: must be a number from 0 to 65535"), "{seen:#?}");
    assert!(seen[3].starts_with("t.ini:8: [server] body_limit: what follows int:"), "{seen:#?}");
    assert!(seen[4].starts_with("t.ini:10: [compat] legacy_status: must be on or off"), "{seen:#?}");
}

#[test]
fn addresses_come_as_text_list_star_or_name() {
    let listen = |bindto: &str| {
        let (settings, _) = good(&format!("[network]\nbindto={bindto}\nport=int:80\n[auth]\napikey=k"));
        settings.listen.iter().filter_map(SocketAddress::ip).collect::<Vec<_>>()
    };
    assert_eq!(listen("*"), ["0.0.0.0:80".parse().unwrap()]);
    assert_eq!(
        listen("list:127.0.0.1 [::1] 127.0.0.1"),
        ["127.0.0.1:80".parse().unwrap(), "[::1]:80".parse().unwrap()]
    );
    assert!(listen("localhost").iter().all(|address| address.ip().is_loopback()));
}

#[test]
fn an_apikey_is_a_text_or_a_number_as_text() {
    let key = |text: &str| good(&format!("[auth]\napikey={text}")).0.apikey;
    assert_eq!(key("int:007"), Some(Secret::new("7")));
    assert_eq!(key("secret"), Some(Secret::new("secret")));
    let (settings, warnings) = good("[auth]\napikey=");
    assert_eq!(settings.apikey, None);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_misspelt_key_is_an_error_where_it_would_leave_the_server_open() {
    let seen = errors("[auth]\napi_key=secret\n[SSL]\nenable=yes");
    assert!(seen[0].starts_with("t.ini:4: [auth] api_key: is not known to the server (is apikey meant?)"), "{seen:#?}");
    assert!(seen[1].starts_with("t.ini:6: [SSL] enable: is not known to the server (is enabled meant?)"), "{seen:#?}");
    let (_, warnings) = good("[auth]\napikey=k\napikeys=x\nusers=y\n[cors]\nenable=yes");
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
}

#[test]
fn no_key_beyond_loopback_is_warned_of() {
    let (_, warnings) = good("[network]\nbindto=0.0.0.0");
    assert!(warnings[0].contains("[auth] apikey: is not set"), "{warnings:?}");
}

#[test]
fn tls_is_off_unless_enabled_and_its_files_must_be_there() {
    assert_eq!(good("[SSL]\ncertfile=/nowhere\nkeyfile=/nowhere").0.tls, None);
    let seen = good("[SSL]\ncertfile=/nowhere").1;
    assert!(seen[0].starts_with("t.ini:4: [SSL] certfile: is not used, since SSL is not enabled"), "{seen:#?}");
    assert_eq!(good("[SSL]\nenabled=off\ncertfile=/nowhere").1.len(), 0);
    let seen = errors("[SSL]\nenabled=yes\ncertfile=/nowhere/cert.pem");
    assert!(seen[1].starts_with("t.ini:5: [SSL] certfile: /nowhere/cert.pem cannot be read"), "{seen:#?}");
    assert!(seen[0].starts_with("t.ini:3: [SSL] keyfile: is missing while SSL is enabled"), "{seen:#?}");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let pair = format!("certfile={file}\nkeyfile={file}");
    let tls = good(&format!("[ssl]\nenabled=TRUE\n{pair}")).0.tls.unwrap();
    let pem = || PemFile { path: file.into(), location: SourceLocation::file(Path::new("t.ini")) };
    let files = |section: &str| TlsFiles { section: section.into(), certfile: pem(), keyfile: pem() };
    let general = TlsSettings {
        general: files("ssl"),
        named: Vec::new(),
        min_version: TlsVersion::Tls12,
        clients: None,
        check_interval: Some(Duration::from_secs(60)),
        http2: true,
    };
    assert_eq!(tls, general);
    let more = "min_version=1.3\nclient_certificate=Optional\ncheck_interval=none";
    let text = format!("[SSL]\nenabled=on\n{pair}\n{more}\nclient_ca={file}\n[SSL www]\n{pair}\n[network]\nhttp2=off");
    let clients = Some(ClientAuthority { file: pem(), is_required: false });
    let (min_version, named) = (TlsVersion::Tls13, vec![files("SSL www")]);
    let expected =
        TlsSettings { general: files("SSL"), named, min_version, clients, check_interval: None, http2: false };
    assert_eq!(good(&text).0.tls.unwrap(), expected);
}

#[test]
fn what_would_leave_tls_open_or_incomplete_is_an_error() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let pair = format!("certfile={file}\nkeyfile={file}");
    let wrong = [
        ("min_version=1.1", "min_version: must be 1.2 or 1.3, not \"1.1\""),
        ("client_ca=/nowhere/ca.pem", "client_ca: /nowhere/ca.pem cannot be read"),
        ("client_certificate=maybe", "client_certificate: must be required or optional, not \"maybe\""),
        ("client_certificate=required", "client_certificate: has no effect without client_ca"),
        ("check_interval=0", "check_interval: must be a time above 0"),
        ("[SSL www]\ncertfile=/nowhere", "[SSL www] keyfile: is missing while SSL is enabled"),
    ];
    for (line, expected) in wrong {
        let seen = errors(&format!("[SSL]\nenabled=on\n{pair}\n{line}"));
        assert!(seen.iter().any(|one| one.contains(expected)), "{line}: {seen:#?}");
    }
    let seen = errors(&format!("[SSL www]\ncertfile={file}\nkeyfil={file}"));
    assert!(seen[0].contains("[SSL www] keyfil: is not known to the server (is keyfile meant?)"), "{seen:#?}");
}

#[test]
fn cors_takes_text_or_list_and_warns_of_what_cannot_match() {
    let (settings, _) = good("[CORS]\nenabled=bool:true\norigin_url=https://a.example");
    assert_eq!(
        settings.cors,
        Some(CorsSettings { origins: vec!["https://a.example".into()], ..CorsSettings::default() })
    );
    assert_eq!(good("[cors]\nenabled=bool:false\norigin_url=x").0.cors, None);
    let (settings, warnings) = good("[cors]\nenabled=true");
    assert_eq!(settings.cors, Some(CorsSettings::default()));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(good("[cors]\nenabled=on\norigin_url=list:* https://a.example/").1.len(), 2);
}

#[test]
fn every_server_key_takes_effect() {
    let server = good(
        "[server]\nio_threads=2\nevent_loop=uvloop\n\
         trusted_proxies=list:10.0.0.0/8\nplugin_timeout=7\nshutdown_timeout=float:1.5\ncontrol_socket=run/x.sock\nstate_dir=none\ncrash_loop_guard=off\ndrain_delay=2\n\
         watchdog_restart=off\nwatch=poll\nstall_warn=none\nstall_unready=10s\nshow_errors=off",
    )
    .0
    .server;
    assert_eq!(
        server,
        ServerSettings {
            io_threads: 2,
            event_loop: EventLoop::Uvloop,
            trusted_proxies: TrustedProxies { networks: vec!["10.0.0.0/8".parse().unwrap()], unix: false },
            plugin_timeout: Duration::from_secs(7),
            drain_delay: Duration::from_secs(2),
            control_socket: PlaceSetting::At("run/x.sock".into()),
            state_dir: PlaceSetting::Off,
            crash_loop_guard: false,
            watchdog_restart: false,
            stall_warn: None,
            stall_unready: Some(Duration::from_secs(10)),
            watch: WatchMode::Poll,
            show_errors: ShowErrors::Off,
            shutdown_timeout: Duration::from_millis(1500),
        }
    );
}

#[test]
fn limits_have_their_own_section() {
    let (settings, warnings) = good("[limits]\nhead_size=16KiB\nbody_size=int:10\nin_flight=3\nin_flight_per_plugin=2");
    assert_eq!(settings.limits, LimitSettings { head_size: 16384, in_flight: 3, ..LimitSettings::default() });
    let general = PluginSettings { body_size: 10, in_flight: 2, ..PluginSettings::default() };
    assert_eq!(*settings.plugins.general, general);
    assert!(warnings.is_empty(), "{warnings:?}");
    let none = good("[limits]\nhead_size=none\nbody_size=NONE\nin_flight=none\nin_flight_per_plugin=none").0;
    assert_eq!((none.limits.in_flight, none.plugins.general.body_size), (UNLIMITED, UNLIMITED));
    assert_eq!(good("").0.limits, LimitSettings::default());
    assert_eq!(*good("").0.plugins.general, PluginSettings::default());
}

#[test]
fn the_earlier_names_of_limits_are_valid_alone() {
    let (settings, notes) =
        good("[server]\nhead_limit=16KiB\nbody_limit=10\nmax_in_flight=3\nmax_in_flight_per_plugin=2");
    assert_eq!(settings.limits, LimitSettings { head_size: 16384, in_flight: 3, ..LimitSettings::default() });
    assert_eq!(*settings.plugins.general, PluginSettings { body_size: 10, in_flight: 2, ..PluginSettings::default() });
    assert_eq!(notes.len(), 4, "{notes:#?}");
    let note = "[server] head_limit: is called head_size in [limits] now (the earlier name stays valid)";
    assert_eq!(notes[0], format!("t.ini:4: {note}"));
    let seen = errors("[server]\nbody_limit=10\n[limits]\nbody_size=10");
    assert!(seen[0].starts_with("t.ini:4: [server] body_limit: is the earlier name of [limits] body_size"), "{seen:?}");
}

#[test]
fn times_and_rates_have_units_and_none() {
    let (settings, _) = good(
        "[limits]\nhead_fields=7\ntarget_size=1KiB\nbody_idle_time=2\nbody_time=3s\nbody_min_rate=2KiB/s\n\
         queue_time=100ms\nhandler_time=1m\n[plugin a]\nqueue_time=none",
    );
    let (limits, plugins) = (settings.limits, settings.plugins);
    let [idle, whole] = [2, 3].map(|seconds| Some(Duration::from_secs(seconds)));
    assert_eq!(limits.body, BodyTimes { idle, whole, min_rate: Some(2048) });
    assert_eq!((limits.head_fields, limits.target_size), (7, 1024));
    let [queue_time, handler_time] = [100, 60_000].map(|time| Some(Duration::from_millis(time)));
    assert_eq!((plugins.general.queue_time, plugins.general.handler_time), (queue_time, handler_time));
    assert_eq!((plugins.of("a", "a").queue_time, plugins.of("a", "a").handler_time), (None, handler_time));
    let none = "[limits]\nhead_fields=none\ntarget_size=none\nbody_idle_time=none\nbody_time=none\nbody_min_rate=none";
    assert_eq!(good(none).0.limits.body, BodyTimes { idle: None, whole: None, min_rate: None });
    let (earlier, notes) = good("[server]\nread_timeout=7\n[limits]\nidle_time=none");
    let seven = Some(Duration::from_secs(7));
    assert_eq!((earlier.limits.body.idle, earlier.limits.head_time), (seven, seven));
    assert_eq!((earlier.limits.send_idle_time, earlier.limits.idle_time), (seven, None));
    assert!(notes[0].starts_with("t.ini:4: [server] read_timeout: is called head_time, idle_time, "), "{notes:?}");
    let wrong = errors("[limits]\nhead_fields=0\ntarget_size=65535\nbody_min_rate=fast\nqueue_time=0\nhandler_time=x");
    assert!(wrong[0].starts_with("t.ini:4: [limits] head_fields: must be a whole number from 1 to 10000"), "{wrong:?}");
    assert!(wrong[2].contains("body_min_rate: must be a size in each second, not \"fast\""), "{wrong:?}");
    assert_eq!(wrong.len(), 5, "{wrong:#?}");
}

#[test]
fn a_plugins_section_counts_before_limits() {
    let (settings, warnings) = good("[limits]\nbody_size=10\n[plugin a]\nin_flight=7\n[Plugin b/c]\nbody_size=none");
    let plugins = settings.plugins;
    assert_eq!(
        **plugins.of("a", "x"),
        PluginSettings { body_size: 10, in_flight: 7, counts_apart: true, ..PluginSettings::default() }
    );
    assert_eq!((plugins.of("b/c", "x").body_size, plugins.of("b/c", "x").counts_apart), (UNLIMITED, false));
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn what_is_wrong_with_a_plugins_section_is_reported_with_its_line() {
    let (_, warnings) = good("[plugin a]\nbody_sise=1\n[plugin b]\ncolour=red\n[plugins c]\nbody_size=1");
    assert_eq!(warnings[0], "t.ini:4: [plugin a] body_sise: is not known to the server (is body_size meant?)");
    assert!(warnings[1].starts_with("t.ini:6: [plugin b] colour: is not known to the server (known are body_size"));
    assert!(warnings[2].starts_with("t.ini:7: [plugins c]: the server does not read it"), "{warnings:#?}");
    let seen = errors("[plugin a]\nbody_size=big\nin_flight=0\n[plugin  a]\nin_flight=1");
    assert!(seen[0].starts_with("t.ini:4: [plugin a] body_size: must be a size"), "{seen:#?}");
    assert!(seen[1].starts_with("t.ini:5: [plugin a] in_flight: must be a whole number"), "{seen:#?}");
    assert!(seen[2].starts_with("t.ini:6: [plugin  a]: is for the same plugin as [plugin a]"), "{seen:#?}");
}

#[test]
fn plugins_are_parked_and_get_threads_by_their_sections() {
    let of = |text: &str| Arc::clone(good(&format!("[plugin a]\n{text}")).0.plugins.of("a", "x"));
    let settings = of("park_after=5/1m\nthreads=4");
    assert_eq!(settings.park_after, Some(ParkAfter { failures: 5, within: Duration::from_secs(60) }));
    assert_eq!(settings.threads, 4);
    let none = of("park_after=none\nthreads=none");
    assert_eq!((none.park_after, none.threads), (None, 0));
    for wrong in ["park_after=5", "park_after=0/1m", "park_after=5/x", "park_after=1001/1s", "threads=0", "threads=257"]
    {
        let seen = errors(&format!("[plugin a]\n{wrong}"));
        assert!(seen.len() == 1 && seen[0].contains("[plugin a] "), "{wrong}: {seen:#?}");
    }
}

#[test]
fn unknown_keys_and_misspelt_sections_are_warned_of() {
    let (_, warnings) =
        good("[netwrok]\nport=1\n[server]\nbody_limits=1\n[markdown]\nanything=goes\n[plugin_parms]\nx=a=b");
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings[0].starts_with("t.ini:3: [netwrok]: ") && warnings[0].contains("[network]"), "{warnings:#?}");
    assert_eq!(warnings[1], "t.ini:6: [server] body_limits: is not known to the server (is body_limit meant?)");
}

#[test]
fn of_two_sections_that_differ_in_case_the_exact_one_counts() {
    let (settings, warnings) = good("[AUTH]\napikey=one\n[auth]\napikey=two");
    assert_eq!(settings.apikey, Some(Secret::new("two")));
    assert_eq!(
        warnings,
        ["t.ini:3: [AUTH]: is ignored by the server, which uses [auth] (put everything into one section)"]
    );
}

#[test]
fn running_without_a_file_equals_a_file_that_names_the_folder() {
    let folder = std::path::Path::new("/srv/a$b");
    let (made, warnings) = settings(&resolve(&Ini::for_folder(folder), |_| None));
    let made = made.expect("nothing is wrong with the defaults");
    assert_eq!(made.listen, [SocketAddr::from(([127, 0, 0, 1], 9192)).into()]);
    assert_eq!(made.paths.plugins, folder.join("plugins"));
    assert_eq!(made.server, ServerSettings::default());
    assert!(made.tls.is_none() && made.cors.is_none() && made.apikey.is_none() && !made.legacy_status);
    assert!(warnings.is_empty());
}

#[test]
fn a_change_that_needs_a_restart_is_named() {
    let (before, _) = good("[network]\nport=1000\n[server]\nbody_limit=1KiB");
    let (after, _) = good("[network]\nport=1001\n[server]\nbody_limit=2KiB\nio_threads=2");
    assert_eq!(after.needing_restart(&before), ["[server] io_threads"]);
}
