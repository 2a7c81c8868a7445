//! The layers around services that answer, refuse, fail, panic and are abandoned.

mod audit;
mod requests;

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, Response};
use parking_lot::Mutex;

use crate::record::{AuditRecord, Event, Point};
use crate::sink::Sink;

/// A sink that remembers, and takes only so many points.
#[derive(Debug, Clone)]
struct Memory {
    records: Arc<Mutex<Vec<AuditRecord>>>,
    points: Arc<Mutex<Vec<Point>>>,
    room: Arc<Mutex<usize>>,
}

impl Memory {
    fn new() -> Self {
        Self { records: Arc::default(), points: Arc::default(), room: Arc::new(Mutex::new(usize::MAX)) }
    }

    fn records(&self) -> Vec<AuditRecord> {
        std::mem::take(&mut self.records.lock())
    }

    fn points(&self) -> Vec<Point> {
        std::mem::take(&mut self.points.lock())
    }

    fn set_room(&self, points: usize) {
        *self.room.lock() = points;
    }
}

impl Sink for Memory {
    fn track(&self, _: Event) -> bool {
        false
    }

    fn audit(&self, record: AuditRecord) -> bool {
        self.records.lock().push(record);
        true
    }

    fn metric(&self, point: Point) -> bool {
        let mut room = self.room.lock();
        let Some(rest) = room.checked_sub(1) else { return false };
        *room = rest;
        self.points.lock().push(point);
        true
    }
}

fn request(method: &Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

fn response(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Body::from("text")).unwrap()
}
