//! The reference for people: a page that reads the OpenAPI document, and one for each error code.
//!
//! Everything comes from the binary and from this origin; scripts and styles inside of pages are forbidden.

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::AppState;
use crate::http::error::{ApiError, Code};

/// What a page may load: its own files, and the document.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/insights/docs/", get(async || page(include_str!("docs/index.html").to_owned())))
        .route(
            "/api/insights/docs/docs.js",
            get(async || file("text/javascript", include_str!("docs/docs.js"))),
        )
        .route("/api/insights/docs/docs.css", get(async || file("text/css", include_str!("docs/docs.css"))))
        .route("/api/insights/docs/errors/{code}/", get(error_page))
}

fn page(html: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, html).into_response()
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "public, max-age=300")], text)
        .into_response()
}

/// What an error code means: where the `type` of a problem leads.
async fn error_page(Path(name): Path<String>) -> Result<Response, ApiError> {
    let code = Code::ALL.into_iter().find(|code| code.name() == name).ok_or_else(ApiError::not_found)?;
    let html = include_str!("docs/error.html")
        .replace("{code}", code.name())
        .replace("{status}", &code.status().to_string())
        .replace("{title}", code.title())
        .replace("{advice}", code.advice());
    Ok(page(html))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};

    use super::*;
    use crate::testing::TestApp;

    #[tokio::test]
    async fn every_code_leads_to_a_page_and_every_page_has_a_policy() {
        let app = TestApp::new();
        let get = async |path: &str| app.send(Request::get(path).body(Body::empty()).unwrap()).await;
        for code in Code::ALL {
            let answer = get(&format!("{}{}", crate::http::error::TYPE_BASE, code.name())).await;
            assert_eq!(answer.status, StatusCode::OK);
            let html = String::from_utf8(answer.bytes).unwrap();
            assert!(html.contains(code.title()) && !html.contains('{'), "{html}");
        }
        let answer = get("/api/insights/docs").await;
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        let html = String::from_utf8(answer.bytes).unwrap();
        assert!(!html.contains("<style") && !html.contains("style=") && !html.contains("://"));
        assert_eq!(get("/api/insights/docs/docs.js").await.headers[header::CONTENT_TYPE], "text/javascript");
        assert_eq!(get("/api/insights/docs/docs.css").await.headers[header::CONTENT_TYPE], "text/css");
        assert_eq!(get("/api/insights/docs/errors/nothing").await.status, StatusCode::NOT_FOUND);
    }
}
