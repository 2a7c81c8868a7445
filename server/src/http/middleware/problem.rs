//! Puts the request id and path into errors.
