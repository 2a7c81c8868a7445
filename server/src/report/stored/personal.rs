//! What a security report says of users, apart from everything else it says: so that an erasure reaches it.
//!
//! A finding about a user stays in the body without what names the user. The rest becomes a record that is about the
//! user, which an erasure empties as it does any other; then the finding comes back as erased.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::report::security::finding::SubjectKind;

/// Most findings of one record about a user.
pub(crate) const FINDINGS_OF_RECORD_MAX: usize = 50;
/// The members of a finding that may name its user, or name what is theirs.
const PERSONAL: [&str; 4] = ["subject", "value", "evidence", "text"];

/// What one finding says of its user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Personal {
    /// The place of the finding in the list.
    pub(crate) index: usize,
    /// The members that were taken out.
    #[serde(flatten)]
    pub(crate) members: Map<String, Value>,
}

/// Takes what names users out of the findings of a body; gives it by user.
pub(crate) fn take_out(body: &mut Value) -> BTreeMap<String, Vec<Personal>> {
    let mut out: BTreeMap<String, Vec<Personal>> = BTreeMap::new();
    for (index, finding) in findings(body).enumerate() {
        let Some(user) = user_of(finding) else { continue };
        let Some(finding) = finding.as_object_mut() else { continue };
        let taken = PERSONAL.iter().filter_map(|name| Some(((*name).to_owned(), finding.remove(*name)?)));
        let members = taken.collect();
        finding.insert("subject".to_owned(), Value::Null);
        out.entry(user).or_default().push(Personal { index, members });
    }
    out
}

/// Puts back what was taken out, as far as it is still there; a finding whose user was erased says so.
pub(crate) fn put_back(body: &mut Value, parts: impl IntoIterator<Item = Personal>) {
    let mut by_index: BTreeMap<usize, Map<String, Value>> =
        parts.into_iter().map(|part| (part.index, part.members)).collect();
    for (index, finding) in findings(body).enumerate() {
        let Some(finding) = finding.as_object_mut() else { continue };
        if finding.get("subject").is_some_and(|subject| !subject.is_null()) {
            continue;
        }
        if let Some(members) = by_index.remove(&index) {
            finding.extend(members);
        } else {
            finding.insert("erased".to_owned(), true.into());
            finding.insert("evidence".to_owned(), json!([]));
            finding.insert("text".to_owned(), Value::Null);
        }
    }
}

fn findings(body: &mut Value) -> impl Iterator<Item = &mut Value> {
    body.get_mut("findings").and_then(Value::as_array_mut).into_iter().flatten()
}

fn user_of(finding: &Value) -> Option<String> {
    let subject = finding.get("subject")?;
    let is_user =
        serde_json::to_value(SubjectKind::User).is_ok_and(|user| subject.get("kind") == Some(&user));
    is_user.then(|| subject.get("value")?.as_str().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Value {
        json!({"findings": [
            {"rule": "a", "subject": {"kind": "user", "value": "ann"}, "value": "192.0.2.1",
             "evidence": ["x"], "text": "ann did"},
            {"rule": "b", "subject": {"kind": "address", "value": "192.0.2.7"}, "evidence": ["y"], "text": "t"},
            {"rule": "c", "subject": {"kind": "user", "value": "bob"}, "evidence": [], "text": "bob did"},
            {"rule": "d", "subject": {"kind": "user", "value": "ann"}, "evidence": [], "text": "ann again"},
        ]})
    }

    #[test]
    fn what_is_taken_out_names_no_user_and_comes_back() {
        let mut taken = body();
        let parts = take_out(&mut taken);
        assert!(!taken.to_string().contains("ann") && !taken.to_string().contains("192.0.2.1"), "{taken}");
        assert!(taken.to_string().contains("192.0.2.7"));
        let count = |user: &str| parts[user].len();
        assert_eq!((parts.len(), count("ann"), count("bob")), (2, 2, 1));
        put_back(&mut taken, parts.into_values().flatten());
        assert_eq!(taken, body());
    }

    #[test]
    fn a_finding_whose_user_is_gone_says_so() {
        let mut taken = body();
        let mut parts = take_out(&mut taken);
        parts.remove("ann");
        put_back(&mut taken, parts.into_values().flatten());
        let expected = json!({"rule": "a", "subject": null, "erased": true, "evidence": [], "text": null});
        assert_eq!((&taken["findings"][0], &taken["findings"][3]["erased"]), (&expected, &json!(true)));
        assert_eq!(
            (&taken["findings"][1], &taken["findings"][2]),
            (&body()["findings"][1], &body()["findings"][2])
        );
    }

    #[test]
    fn a_body_without_findings_stays_as_it_is() {
        let mut body = json!({"metrics": {}});
        assert!(take_out(&mut body).is_empty());
        put_back(&mut body, []);
        assert_eq!(body, json!({"metrics": {}}));
    }
}
