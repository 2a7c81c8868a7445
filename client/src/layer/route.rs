//! Names of routes: paths with their parameters taken out, and no more of them than a limit.

use std::collections::HashSet;
use std::sync::Arc;

use http::request;
use parking_lot::Mutex;

/// The route of requests beyond the limit of distinct routes.
pub const OTHER_ROUTE: &str = "other";
/// Most bytes of a route, so that it fits a label and an action type.
const ROUTE_BYTES_MAX: usize = 200;

/// A path with every segment that looks like a parameter replaced by `{id}`: numbers, UUIDs, and anything with a digit
/// that is longer than 20 characters.
///
/// ```
/// # use insights_client::path_template;
/// assert_eq!(path_template("/projects/17/files/"), "/projects/{id}/files/");
/// assert_eq!(path_template("/users/0af76519-16cd-43dd-8448-eb211c80319c"), "/users/{id}");
/// assert_eq!(path_template("/v2/report"), "/v2/report");
/// ```
pub fn path_template(path: &str) -> String {
    let mut template = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            template.push('/');
        }
        template.push_str(if is_parameter(segment) { "{id}" } else { segment });
    }
    template
}

/// Whether a segment names one thing of many rather than a place.
fn is_parameter(segment: &str) -> bool {
    let has_digit = segment.bytes().any(|byte| byte.is_ascii_digit());
    let is_number = has_digit && segment.bytes().all(|byte| byte.is_ascii_digit());
    is_number || is_uuid(segment) || (has_digit && segment.len() > 20)
}

fn is_uuid(segment: &str) -> bool {
    segment.len() == 36
        && segment.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A function that names the route of a request.
pub(crate) type NameRoute = Arc<dyn Fn(&request::Parts) -> String + Send + Sync>;

/// A bounded set of names.
#[derive(Debug)]
pub(crate) struct Names {
    names_max: usize,
    seen: Mutex<HashSet<Arc<str>>>,
}

impl Names {
    /// A set that takes the first `names_max` distinct names.
    pub(crate) fn new(names_max: usize) -> Self {
        Self { names_max, seen: Mutex::default() }
    }

    /// The name, or [`OTHER_ROUTE`] when it is new and there are enough, or it is too long.
    pub(crate) fn bounded(&self, name: &str) -> Arc<str> {
        let mut seen = self.seen.lock();
        if let Some(name) = seen.get(name) {
            return Arc::clone(name);
        }
        if name.len() > ROUTE_BYTES_MAX || seen.len() >= self.names_max {
            return OTHER_ROUTE.into();
        }
        let name: Arc<str> = name.into();
        seen.insert(Arc::clone(&name));
        name
    }
}

/// The words of an action type for a request: `post.projects.id.files` for `POST /projects/{id}/files/`.
///
/// An action type has 1 to 128 bytes of `A-Z a-z 0-9 _ : -` in words with dots between; other characters become `_`.
pub(crate) fn action_type(method: &http::Method, route: &str) -> String {
    const ACTION_TYPE_BYTES_MAX: usize = 128;
    let mut action = word(&method.as_str().to_ascii_lowercase());
    for segment in route.split('/') {
        let segment = word(segment.trim_matches(['{', '}', '*']));
        if !segment.is_empty() && action.len() + 1 + segment.len() <= ACTION_TYPE_BYTES_MAX {
            action.push('.');
            action.push_str(&segment);
        }
    }
    action
}

fn word(segment: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-') { c } else { '_' };
    segment.chars().take(64).map(word).collect()
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_taken_out_of_a_path() {
        let check = |path, expected| assert_eq!(path_template(path), expected);
        check("/", "/");
        check("", "");
        check("/a/1/b/22/", "/a/{id}/b/{id}/");
        check("/a/0AF76519-16cd-43dd-8448-eb211c80319c", "/a/{id}");
        check("/a/v1", "/a/v1");
        check("/a/0af7651916cd43dd8448eb211c80319c", "/a/{id}");
        check("/a/organizations-of-the-world", "/a/organizations-of-the-world");
    }

    #[test]
    fn names_beyond_the_limit_are_other() {
        let names = Names::new(2);
        let of: Vec<_> =
            ["/a", "/b", "/c", "/a", "/d"].iter().map(|name| names.bounded(name).to_string()).collect();
        assert_eq!(of, ["/a", "/b", "other", "/a", "other"]);
        assert_eq!(&*Names::new(9).bounded(&"x".repeat(201)), "other");
    }

    #[test]
    fn an_action_is_the_method_and_the_words_of_the_route() {
        let check = |method, route, expected| assert_eq!(action_type(&method, route), expected);
        check(Method::POST, "/projects/{id}/files/", "post.projects.id.files");
        check(Method::GET, "/", "get");
        check(Method::DELETE, "/a b/{*rest}", "delete.a_b.rest");
        check(Method::PUT, "other", "put.other");
    }

    proptest! {
        #[test]
        fn an_action_is_always_one_that_the_server_takes(method in "[A-Z!#$]{1,200}", route in ".{0,300}") {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let action = action_type(&method, &route);
            prop_assert!((1..=128).contains(&action.len()));
            let is_word = |c: char| c.is_ascii_alphanumeric() || "_:-".contains(c);
            prop_assert!(action.split('.').all(|word| !word.is_empty() && word.chars().all(is_word)), "{action}");
        }
    }
}
