//! Fields and filters as bytes and numbers, equal for equal ones: by them cells know what they were made with,
//! so they stay as they are.

use super::request::{Field, Filter, Literal, Op};
use crate::codec::put_varint;
use crate::session::key::{KeyKind, session_key};

/// The number of some filters, in their order.
pub(crate) fn fingerprint(filters: &[&Filter]) -> u64 {
    let mut bytes = Vec::new();
    for filter in filters {
        put_filter(filter, &mut bytes);
    }
    let hash = session_key(KeyKind::Person, &bytes);
    u64::try_from(hash & u128::from(u64::MAX)).unwrap_or(0)
}

/// Writes a filter: equal ones give equal bytes.
pub(crate) fn put_filter(filter: &Filter, out: &mut Vec<u8>) {
    match filter {
        Filter::And(list) | Filter::Or(list) => {
            out.push(u8::from(matches!(filter, Filter::Or(_))));
            put_varint(list.len() as u64, out);
            for inner in list {
                put_filter(inner, out);
            }
        }
        Filter::Not(inner) => {
            out.push(2);
            put_filter(inner, out);
        }
        Filter::Compare(field, op) => {
            out.push(3);
            put_field(field, out);
            put_op(op, out);
        }
    }
}

/// Writes a field: equal ones give equal bytes.
pub(crate) fn put_field(field: &Field, out: &mut Vec<u8>) {
    match field {
        Field::Column(id) => {
            out.push(0);
            out.extend_from_slice(&id.0.to_le_bytes());
        }
        Field::Path(id, path) => {
            out.push(1);
            out.extend_from_slice(&id.0.to_le_bytes());
            put_varint(path.len() as u64, out);
            for key in path {
                put_text(key, out);
            }
        }
        Field::Tenant => out.push(2),
        Field::FirstOf(fields) => {
            out.push(3);
            put_varint(fields.len() as u64, out);
            for field in fields {
                put_field(field, out);
            }
        }
    }
}

fn put_op(op: &Op, out: &mut Vec<u8>) {
    let (tag, literals): (u8, &[Literal]) = match op {
        Op::Is(literal) => (0, std::slice::from_ref(literal)),
        Op::IsNot(literal) => (1, std::slice::from_ref(literal)),
        Op::In(list) => (2, list),
        Op::Gt(literal) => (3, std::slice::from_ref(literal)),
        Op::Gte(literal) => (4, std::slice::from_ref(literal)),
        Op::Lt(literal) => (5, std::slice::from_ref(literal)),
        Op::Lte(literal) => (6, std::slice::from_ref(literal)),
        Op::Exists => (7, &[]),
        Op::Contains(_) => (8, &[]),
        Op::StartsWith(_) => (9, &[]),
    };
    out.push(tag);
    if let Op::Contains(text) | Op::StartsWith(text) = op {
        return put_text(text, out);
    }
    put_varint(literals.len() as u64, out);
    for literal in literals {
        match literal {
            Literal::Bool(bool) => out.extend_from_slice(&[0, u8::from(*bool)]),
            Literal::I64(n) => {
                out.push(1);
                out.extend_from_slice(&n.to_le_bytes());
            }
            Literal::U64(n) => {
                out.push(2);
                out.extend_from_slice(&n.to_le_bytes());
            }
            Literal::F64(n) => {
                out.push(3);
                out.extend_from_slice(&n.to_bits().to_le_bytes());
            }
            Literal::Str(text) => {
                out.push(4);
                put_text(text, out);
            }
        }
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::stream::{APP_ID, EVENT_TYPE};

    #[test]
    fn different_filters_have_different_numbers_that_stay() {
        let is = |def: &crate::schema::ColumnDef, text: &str| {
            Filter::Compare(Field::Column(def.id), Op::Is(Literal::Str(text.to_owned())))
        };
        let all = Filter::all();
        let filters = [
            all.clone(),
            Filter::Or(Vec::new()),
            is(&APP_ID, "a"),
            is(&APP_ID, "b"),
            is(&EVENT_TYPE, "a"),
            Filter::Not(Box::new(is(&APP_ID, "a"))),
            Filter::And(vec![is(&APP_ID, "a")]),
        ];
        let mut numbers: Vec<u64> = filters.iter().map(|filter| fingerprint(&[filter])).collect();
        numbers.push(fingerprint(&[&all, &all]));
        let mut distinct = numbers.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), numbers.len());
        assert_eq!(fingerprint(&[&filters[2]]), 11_660_569_321_192_112_428);
    }
}
