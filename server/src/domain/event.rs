//! Events: what counts as a page view, an action, a feature, and the limits of a record.

/// Most characters of an event type.
pub const EVENT_TYPE_CHARS_MAX: usize = 128;

/// Event types that are page views, unless the configuration says otherwise.
pub const PAGE_VIEW_TYPES: [&str; 4] = ["page_view", "page.viewed", "pageview", "$pageview"];

/// Paths of `event_data` that name the page of a page view; the first that is present wins.
pub const PAGE_PATHS: [&str; 3] = ["page", "path", "url"];

/// The path of `event_data` that names a feature; without it the event type of an action is the feature.
pub const FEATURE_PATH: &str = "feature";

/// The path of `event_data` that is `false` when nobody did anything: such an event is no action.
pub const INTERACTIVE_PATH: &str = "interactive";

/// A gap between two events of one session key that ends a session, in microseconds.
pub const SESSION_GAP_US: i64 = 30 * 60 * 1_000_000;
