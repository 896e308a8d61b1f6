//! The metrics page, as Prometheus's own tool reads it.

use downhaul_testkit::telemetry::Promtool;

use crate::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_of_a_service_at_work_are_a_page_that_promtool_accepts() {
    let service = Service::start(&[]).await;
    service.place_many(3).await;
    service.until_settled(1000).await;
    let (kind, page) = service.metrics().await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    for name in [
        "http_server_request_duration_seconds_count",
        "http_server_active_requests",
        "messaging_process_duration_seconds_count",
        "messaging_client_operation_duration_seconds_count",
        "messaging_client_sent_messages_total",
        "messaging_client_consumed_messages_total",
        "downhaul_contexts",
        "downhaul_stragglers",
        "downhaul_consumer_state",
        "downhaul_consumer_link",
        "downhaul_consumer_held_up",
        "downhaul_consumer_messages",
    ] {
        assert!(page.lines().any(|line| line.starts_with(name)), "no {name} in\n{page}");
    }
    let Some(promtool) = Promtool::find() else {
        return println!("SKIPPED: no promtool; `cargo xtask test` lays it out");
    };
    assert_eq!(promtool.complaints(&page).unwrap(), "");
    // It does complain where there is something to complain about.
    assert_ne!(promtool.complaints("# TYPE a counter\na 1\n").unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_stopped_at_run_time_is_on_the_page() {
    let service = Service::start(&[]).await;
    let (status, _) = service.control("POST", "/components/http/stop").await;
    assert_eq!(status, 200);
    let (_, page) = service.metrics().await;
    let stopped = "downhaul_drain_duration_seconds_count{downhaul_component_name=\"http\",\
                   downhaul_outcome=\"stopped\",otel_scope_name=\"downhaul\"} 1";
    assert!(page.contains(stopped), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_telemetry_is_off_nothing_is_recorded_and_there_is_no_page() {
    let service = Service::start_with(&[], &[("OTEL_SDK_DISABLED", "true")]).await;
    service.place_many(1).await;
    let (status, answer) = service.control("GET", "/metrics").await;
    assert_eq!(status, 404);
    assert!(answer["detail"].as_str().unwrap().starts_with("no metrics here"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_a_variable_is_a_line_that_names_it() {
    let environment = [("OTEL_METRICS_EXPORTER", "statsd")];
    let service = Service::start_with(&["--log", "json"], &environment).await;
    let named = |line: &String| line.contains("\"variable\":\"OTEL_METRICS_EXPORTER\"");
    assert_eq!(service.lines().iter().filter(|line| named(line)).count(), 1);
}
