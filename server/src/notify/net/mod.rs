//! The way out: which addresses may be connected to ([`guard`]), how names become addresses ([`resolve`]), the
//! connection itself ([`connect`]), and one request over it ([`client`]).

pub mod client;
pub mod connect;
pub mod guard;
pub mod resolve;
