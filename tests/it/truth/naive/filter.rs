//! Filters as they are defined: a missing field makes every op false except `is_not` and `not`.

use serde_json::Value;

use super::super::data::{Event, Point, at};

/// Whether a record passes, whose fields `field` gives.
pub(crate) fn passes(filter: &Value, field: &dyn Fn(&str) -> Option<Value>) -> bool {
    match filter {
        Value::Object(members) => {
            let (word, inner) = members.iter().next().unwrap();
            match word.as_str() {
                "and" => inner.as_array().unwrap().iter().all(|one| passes(one, field)),
                "or" => inner.as_array().unwrap().iter().any(|one| passes(one, field)),
                "not" => !passes(inner, field),
                other => panic!("{other} is no word of filters"),
            }
        }
        Value::Array(items) if items.first().is_some_and(Value::is_string) => triple(items, field),
        Value::Array(items) => items.iter().all(|one| passes(one, field)),
        other => panic!("{other} is no filter"),
    }
}

fn triple(items: &[Value], field: &dyn Fn(&str) -> Option<Value>) -> bool {
    let (name, op) = (items[0].as_str().unwrap(), items[1].as_str().unwrap());
    let wanted = items.get(2).cloned().unwrap_or_default();
    let wanted = if name == "timestamp" { Value::from(at(wanted.as_str().unwrap())) } else { wanted };
    let Some(value) = field(name) else {
        return op == "is_not" || (op == "exists" && wanted == Value::Bool(false));
    };
    match op {
        "is" => same(&value, &wanted),
        "is_not" => !same(&value, &wanted),
        "in" => wanted.as_array().unwrap().iter().any(|one| same(&value, one)),
        "contains" => value.as_str().is_some_and(|text| text.contains(wanted.as_str().unwrap())),
        "starts_with" => value.as_str().is_some_and(|text| text.starts_with(wanted.as_str().unwrap())),
        "exists" => wanted != Value::Bool(false),
        "gt" => order(&value, &wanted).is_some_and(std::cmp::Ordering::is_gt),
        "gte" => order(&value, &wanted).is_some_and(std::cmp::Ordering::is_ge),
        "lt" => order(&value, &wanted).is_some_and(std::cmp::Ordering::is_lt),
        "lte" => order(&value, &wanted).is_some_and(std::cmp::Ordering::is_le),
        other => panic!("{other} is no op"),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

/// Of two numbers or two texts; nothing else has an order.
fn order(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => Some(a.as_str()?.cmp(b.as_str()?)),
    }
}

impl Event {
    /// A column, or a path of `event_data`.
    pub(crate) fn field(&self, name: &str) -> Option<Value> {
        let text = |text: Option<&str>| text.map(Value::from);
        match name {
            "event_type" => text(Some(self.event_type)),
            "user_id" => text(self.user.as_deref()),
            "anonymous_id" => text(self.visitor.as_deref()),
            "session_id" => text(self.session.as_deref()),
            "app_id" => text(self.app),
            "timestamp" => Some(Value::from(self.at)),
            path => {
                let path = path.strip_prefix("event_data.").unwrap();
                self.data.pointer(&format!("/{}", path.replace('.', "/"))).cloned()
            }
        }
    }

    pub(crate) fn passes(&self, filter: &Value) -> bool {
        passes(filter, &|name| self.field(name))
    }
}

impl Point {
    /// A column, or a label by its bare name or below `labels.`.
    pub(crate) fn field(&self, name: &str) -> Option<Value> {
        let text = |text: Option<&str>| text.map(Value::from);
        match name {
            "name" => text(Some(self.metric())),
            "app_id" => text(self.app),
            "host" => text(self.host),
            "user_id" => text(self.user),
            "value" => Some(Value::from(self.value)),
            "timestamp" => Some(Value::from(self.at)),
            label => {
                let label = label.strip_prefix("labels.").unwrap_or(label);
                text(self.labels.iter().find(|(name, _)| *name == label).map(|(_, value)| *value))
            }
        }
    }

    pub(crate) fn passes(&self, filter: &Value) -> bool {
        passes(filter, &|name| self.field(name))
    }
}
