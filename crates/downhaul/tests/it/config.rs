//! Settings, from files and the environment.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use downhaul::config::{AppConfig, HttpConfig, Secret};
use downhaul::http::Router;
use downhaul::testing::TestApp;
use downhaul::{App, LogFormat};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn vars<const N: usize>(vars: [(&str, &str); N]) -> Result<AppConfig, String> {
    AppConfig::default().vars("SHOP_", vars).map_err(|error| error.to_string())
}

fn json(text: &str) -> Result<AppConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The origin of a setting, as the table has it.
fn origin(config: &AppConfig, key: &str) -> String {
    let table = config.describe();
    let line = table.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap();
    line.rsplit_once("  ").unwrap().1.to_owned()
}

#[test]
fn every_setting_is_read_from_a_file_and_from_the_environment() {
    let text = r#"
        grace = "1m 30s"
        start_within = "1m"
        log = "json"
        [control]
        address = "127.0.0.1:9090"
        token = "s3cret"
        [http]
        address = "unix:/run/shop.sock"
        timeout = "5s"
        lame_duck = "0s"
    "#;
    let file: AppConfig = toml::from_str(text).unwrap();
    let environment = vars([
        ("SHOP_GRACE", "1m 30s"),
        ("SHOP_START_WITHIN", "1m"),
        ("SHOP_LOG", "json"),
        ("SHOP_CONTROL_ADDRESS", "127.0.0.1:9090"),
        ("SHOP_CONTROL_TOKEN", "s3cret"),
        ("SHOP_HTTP_ADDRESS", "unix:/run/shop.sock"),
        ("SHOP_HTTP_TIMEOUT", "5s"),
        ("SHOP_HTTP_LAME_DUCK", "0s"),
    ]);
    for config in [file, environment.unwrap()] {
        assert_eq!((config.grace.as_secs(), config.start_within.as_secs()), (90, 60));
        assert_eq!(config.log, LogFormat::Json);
        assert_eq!(config.control.address.as_deref(), Some("127.0.0.1:9090"));
        assert_eq!(config.control.token.as_ref().map(Secret::reveal), Some("s3cret"));
        let HttpConfig { address, timeout, lame_duck, .. } = config.http;
        assert_eq!(
            (&*address, timeout.as_secs(), lame_duck),
            ("unix:/run/shop.sock", 5, Duration::ZERO)
        );
    }
}

#[test]
fn the_defaults_are_those_of_the_app() {
    let config = AppConfig::default();
    assert_eq!(App::new("shop").configure(&config).plan(), App::new("shop").plan());
    assert!(config.describe().lines().skip(1).all(|line| line.ends_with("  default")));
    let none = json("{}").unwrap();
    assert_eq!(none.describe(), config.describe());
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one_and_without_its_value() {
    let nearest = "unknown setting `SHOP_GRASE`: the nearest known one is `SHOP_GRACE`";
    assert_eq!(vars([("SHOP_GRASE", "s3cret")]).unwrap_err(), nearest);
    let nearest = "unknown setting `control.tokn`: the nearest known one is `control.token`";
    let error = json(r#"{ "control": { "tokn": "s3cret" } }"#).unwrap_err();
    assert!(error.starts_with(nearest) && !error.contains("s3cret"), "{error}");
    let error = json(r#"{ "htp": {} }"#).unwrap_err();
    assert!(error.starts_with("unknown setting `htp`: the nearest known one is `http`"), "{error}");
}

#[test]
fn a_wrong_value_is_told_with_its_key_and_the_form_that_is_wanted() {
    for (key, value, form) in [
        ("grace", "30", "a duration such as `30s`"),
        ("start_within", "soon", "a duration above zero, such as `30s`"),
        ("log", "xml", "`text` or `json`"),
        ("http.timeout", "-1s", "a duration above zero, such as `30s`"),
        ("http.lame_duck", "", "a duration such as `30s`"),
        ("http.address", "8080", "an address such as `127.0.0.1:8080`"),
        ("http.address", "", "an address such as `127.0.0.1:8080`"),
        ("control.address", "localhost:http", "an address such as `127.0.0.1:9090`, or nothing"),
    ] {
        let words = format!("is `{value}`: want {form}");
        let variable = format!("SHOP_{}", key.to_uppercase().replace('.', "_"));
        let error = vars([(&variable, value)]).unwrap_err();
        assert!(error.starts_with(&format!("`{variable}` {words}")), "{error}");
        let file = match key.split_once('.') {
            Some((section, key)) => format!(r#"{{ "{section}": {{ "{key}": "{value}" }} }}"#),
            None => format!(r#"{{ "{key}": "{value}" }}"#),
        };
        let error = json(&file).unwrap_err();
        assert!(error.starts_with(&format!("`{key}` {words}")), "{error}");
    }
}

#[test]
fn all_that_is_wrong_in_the_environment_is_told_at_once() {
    let wrong = [("SHOP_GRACE", "x"), ("SHOP_LOG", "x"), ("SHOP_COLOUR", "x"), ("HOME", "x")];
    let error = AppConfig::default().vars("SHOP_", wrong).unwrap_err();
    let words = error.mistakes().iter().map(|words| words.split('`').nth(1).unwrap());
    assert_eq!(words.collect::<Vec<_>>(), ["SHOP_COLOUR", "SHOP_GRACE", "SHOP_LOG"]);
}

#[test]
fn a_value_of_another_type_is_told_with_its_key() {
    assert!(json(r#"{ "grace": 30 }"#).unwrap_err().starts_with("`grace` is `30`: want"));
    let error = json(r#"{ "grace": ["30s"] }"#).unwrap_err();
    assert!(error.contains("a duration such as `30s` or `250ms` for `grace`"), "{error}");
    let error = json(r#"{ "control": 7 }"#).unwrap_err();
    assert!(error.contains("settings by their keys in `control`"), "{error}");
    assert_eq!(json(r#"{ "grace": null }"#).unwrap().grace.as_secs(), 30, "nothing is given");
    let latin = [(OsString::from("SHOP_GRACE"), OsString::from_vec(vec![0xe9]))];
    let error = AppConfig::default().vars("SHOP_", latin).unwrap_err().to_string();
    assert_eq!(error, "`SHOP_GRACE` is not UTF-8");
}

#[test]
fn a_secret_is_shown_nowhere() {
    let config = vars([("SHOP_CONTROL_TOKEN", "s3cret")]).unwrap();
    assert!(!format!("{config:?}{config:#?}").contains("s3cret"));
    assert!(!config.describe().contains("s3cret") && config.describe().contains("<redacted>"));
    let wrong = [
        vars([("SHOP_CONTROL_TOKEN", "s3cret and more")]),
        json(r#"{ "control": { "token": "s3cret\n" } }"#),
        json(r#"{ "control": { "token": ["s3cret"] } }"#),
        json(r#"{ "control": "s3cret" }"#),
    ];
    for error in wrong.map(Result::unwrap_err) {
        assert!(error.contains("control") || error.contains("CONTROL"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    let empty = vars([("SHOP_CONTROL_TOKEN", "")]).unwrap_err();
    assert!(empty.contains("SHOP_CONTROL_TOKEN"), "no token is not an open door: {empty}");
}

#[test]
fn the_environment_goes_over_the_file_and_the_table_says_where_each_came_from() {
    let file = json(r#"{ "grace": "20s", "start_within": "10s", "log": "json" }"#).unwrap();
    let mut config = file.vars("SHOP_", [("SHOP_GRACE", "25s")]).unwrap();
    config.log = LogFormat::Text;
    config.http.address = "127.0.0.1:0".to_owned();
    assert_eq!(config.grace.as_secs(), 25);
    assert_eq!(origin(&config, "grace"), "SHOP_GRACE");
    assert_eq!(origin(&config, "start_within"), "file", "though it is the default");
    assert_eq!(origin(&config, "log"), "the program");
    assert_eq!(origin(&config, "http.address"), "the program");
    assert_eq!(origin(&config, "http.timeout"), "default");
}

#[test]
fn nothing_in_the_environment_takes_the_control_of_a_file_away() {
    let file = json(r#"{ "control": { "address": "127.0.0.1:9090" } }"#).unwrap();
    let config = file.vars("SHOP_", [("SHOP_CONTROL_ADDRESS", "")]).unwrap();
    assert_eq!(config.control.address, None);
}

#[test]
#[should_panic(expected = "give a prefix")]
fn an_empty_prefix_is_refused() {
    let _ = AppConfig::from_env("");
}

async fn answer(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_app_runs_as_its_settings_say() {
    // The system picks a port that is free; it is given back for the app to take.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let vars = [
        ("SHOP_GRACE", "7s"),
        ("SHOP_CONTROL_ADDRESS", &free),
        ("SHOP_CONTROL_TOKEN", "s3cret"),
        ("SHOP_HTTP_ADDRESS", "127.0.0.1:0"),
        ("SHOP_HTTP_TIMEOUT", "20ms"),
    ];
    let config = AppConfig::default().vars("SHOP_", vars).unwrap();
    let slow = Router::new().get("/", |_ctx, _req| std::future::pending::<String>());
    let server = config.http.server(slow).configure(|server| server.max_connections(7));
    let address = server.address();
    let mut app = App::new("shop").configure(&config);
    app.add("http", server, []);
    let app = TestApp::start(app).await;
    let late = answer(&address.get().unwrap().to_string(), "GET /").await;
    assert!(late.starts_with("HTTP/1.1 504"), "the limits of both are kept: {late}");
    let refused = answer(&free, "POST /components/http/stop").await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let report = app.stop().await;
    report.assert_clean();
    assert_eq!(report.grace.as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_server_is_a_lame_duck_for_as_long_as_its_settings_say() {
    let vars = [("SHOP_HTTP_ADDRESS", "127.0.0.1:0"), ("SHOP_HTTP_LAME_DUCK", "2s")];
    let config = AppConfig::default().vars("SHOP_", vars).unwrap();
    let mut app = App::new("shop");
    app.add("http", config.http.server(Router::new()), []);
    let report = TestApp::start(app).await.stop().await;
    assert_eq!(report.component("http").took.as_secs(), 2, "{report}");
}

#[test]
fn no_time_at_all_is_a_mistake_where_something_is_to_be_done_in_it() {
    for key in ["SHOP_START_WITHIN", "SHOP_HTTP_TIMEOUT"] {
        let error = vars([(key, "0s")]).unwrap_err();
        let form = "want a duration above zero, such as `30s` or `250ms`";
        assert_eq!(error, format!("`{key}` is `0s`: {form}"));
    }
    assert_eq!(vars([("SHOP_GRACE", "0s")]).unwrap().grace, Duration::ZERO);
}

#[test]
fn a_main_that_returns_the_mistakes_prints_them_as_they_are() {
    let error = AppConfig::default().vars("SHOP_", [("SHOP_LOG", "loud")]).unwrap_err();
    assert_eq!(format!("{error:?}"), "`SHOP_LOG` is `loud`: want `text` or `json`");
}
