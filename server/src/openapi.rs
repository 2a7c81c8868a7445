//! The OpenAPI document, put together from the routes' own types.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::export::Format;
use crate::http::error::{Code, FieldError, PROBLEM_JSON, Problem};
use crate::http::list::ListOrder;
use crate::http::route;

/// What the document says of the whole.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Insights",
        description = "Tracking, audit and reports of a platform. Errors are RFC 9457 problems; every path may be \
                       written with or without its last slash."
    ),
    components(schemas(Problem, FieldError, Code, Format, ListOrder)),
    modifiers(&Credentials),
    security(("bearer" = []), ("api_key" = []))
)]
struct Base;

/// The routes that compute figures.
const REPORTS: [&str; 4] = [
    "/api/insights/analytics/",
    "/api/insights/performance/",
    "/api/insights/metrics/query/",
    "/api/insights/reports/",
];

/// How a request says who asks.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key (`ins_...`), or a token of the platform (JWT)."));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        let header = ApiKeyValue::with_description("X-Api-Key", "An API key (`ins_...`).");
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(header)));
    }
}

/// The document of every route.
pub fn document() -> Document {
    let parts = vec![
        route::track::Api::openapi(),
        route::audit::Api::openapi(),
        route::metrics::Api::openapi(),
        route::import::Api::openapi(),
        route::analytics::Api::openapi(),
        route::performance::Api::openapi(),
        route::metric_query::Api::openapi(),
        route::reports::Api::openapi(),
        route::events::Api::openapi(),
        route::export::Api::openapi(),
        route::audit_records::Api::openapi(),
        route::metric_catalogue::Api::openapi(),
        route::organizations::Api::openapi(),
        route::retention::Api::openapi(),
        route::organization_settings::Api::openapi(),
        route::erasures::Api::openapi(),
        route::tasks::Api::openapi(),
        route::live::Api::openapi(),
        route::alerts::document(),
        route::channels::Api::openapi(),
        route::deliveries::Api::openapi(),
        route::keys::Api::openapi(),
        route::health::Api::openapi(),
        route::own_metrics::Api::openapi(),
    ];
    let mut document = parts.into_iter().fold(Base::openapi(), Document::merge_from);
    name_operations(&mut document);
    describe_problems(&mut document);
    describe_headers(&mut document);
    document
}

/// Says of each operation what every error of it looks like.
fn describe_problems(document: &mut Document) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let problem = ResponseBuilder::new()
        .description("Any error; `code` says which")
        .content(PROBLEM_JSON, content)
        .build();
    for item in document.paths.paths.values_mut() {
        for operation in
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
        {
            operation
                .responses
                .responses
                .entry("default".to_owned())
                .or_insert_with(|| problem.clone().into());
        }
    }
}

/// Says what is in the headers of lists, which take a cursor, and of reports, whose figures have a place for it too.
fn describe_headers(document: &mut Document) {
    let header = |text: &str| RefOr::T(HeaderBuilder::new().description(Some(text)).build());
    let timing = header("`engine;dur=` and the milliseconds that the answer took in the server");
    let link = header("The next page, `rel=\"next\"`; none at the end");
    for (path, item) in &mut document.paths.paths {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            let parameters = operation.parameters.as_deref().unwrap_or_default();
            let is_list = parameters
                .iter()
                .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "cursor"));
            let Some(RefOr::T(answer)) = operation.responses.responses.get_mut("200") else { continue };
            if is_list {
                answer.headers.insert("Link".to_owned(), link.clone());
            }
            if is_list || REPORTS.contains(&path.as_str()) {
                answer.headers.insert("Server-Timing".to_owned(), timing.clone());
            }
        }
    }
}

/// Names each operation after its method and path, so that no two have one name, whatever their
/// handlers are called.
fn name_operations(document: &mut Document) {
    for (path, item) in &mut document.paths.paths {
        // What lies beside the API may have the name of one of its routes: `/metrics`.
        let (side, below) =
            path.strip_prefix("/api/insights/").map_or(("server_", &**path), |below| ("", below));
        let words: Vec<_> =
            below.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let name = |operation: &mut Option<Operation>, method: &str| {
            if let Some(operation) = operation {
                operation.operation_id = Some(format!("{method}_{side}{}", words.join("_")));
            }
        };
        name(&mut item.get, "get");
        name(&mut item.put, "put");
        name(&mut item.post, "post");
        name(&mut item.delete, "delete");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_is_3_1_and_every_reference_leads_somewhere() {
        let document = serde_json::to_value(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["security"].as_array().map(Vec::len), Some(2));
        let text = document.to_string();
        let references: BTreeSet<_> =
            text.split("\"#/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        for reference in references {
            assert!(document.pointer(&format!("/{reference}")).is_some(), "{reference}");
        }
    }

    #[test]
    fn lists_lead_on_and_lists_and_reports_say_what_they_took() {
        let document = serde_json::to_value(document()).unwrap();
        let headers = |method: &str, path: &str| {
            let path = format!("/api/insights/{path}");
            let headers = document["paths"][path][method]["responses"]["200"]["headers"].as_object().cloned();
            headers.unwrap_or_default().keys().cloned().collect::<Vec<_>>()
        };
        for list in ["events/", "audit/", "audit/actions/", "metrics/", "keys/"] {
            assert_eq!(headers("get", list), ["Link", "Server-Timing"], "{list}");
        }
        for report in ["analytics/", "performance/", "metrics/query/", "reports/"] {
            assert_eq!(headers("post", report), ["Server-Timing"], "{report}");
        }
        assert!(headers("get", "audit/{id}/").is_empty());
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_summary_and_a_tag() {
        let document = serde_json::to_value(document()).unwrap();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap().to_owned();
                assert!(names.insert(name), "{method} {path}");
                assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path}");
            }
        }
    }
}
