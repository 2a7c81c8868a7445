use super::*;

#[test]
fn an_empty_histogram_has_no_quantile() {
    assert_eq!(Histogram::new().quantile(0.5), None);
}
