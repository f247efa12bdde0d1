//! stub
use crate::{plan::Plan, result::Report};
pub(crate) fn page(_r: &[Report]) -> String {
    String::new()
}
pub(crate) fn compare(_n: [&str; 2], _r: [&[Report]; 2]) -> String {
    String::new()
}
pub(crate) fn plan_page(_p: &Plan) -> String {
    String::new()
}
