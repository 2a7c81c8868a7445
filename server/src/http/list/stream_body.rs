//! A body that is written while it is sent: a bounded channel between the pages of a list and the connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

use crate::http::error::ApiError;

/// Pieces that wait for the connection at most; each is about one page.
const PIECES_MAX: usize = 2;

/// Where the pieces of a body are put in.
pub type PieceSender = mpsc::Sender<Result<Bytes, BrokenOff>>;

/// The rest of an answer could not be read. The connection is cut, so that the client sees that it is not whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub struct BrokenOff(String);

impl From<ApiError> for BrokenOff {
    fn from(error: ApiError) -> Self {
        Self(error.code().name().to_owned())
    }
}

/// The receiving end, as a body without a known length.
#[derive(Debug)]
pub struct StreamBody(mpsc::Receiver<Result<Bytes, BrokenOff>>);

/// A body and where its pieces are put in; dropping the sender ends the body.
pub fn channel() -> (PieceSender, StreamBody) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    (sender, StreamBody(receiver))
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_pieces_come_out_in_order_and_an_error_cuts_the_body() {
        let (sender, body) = channel();
        let writing = tokio::spawn(async move {
            for piece in ["a", "b", "c"] {
                sender.send(Ok(Bytes::from_static(piece.as_bytes()))).await.unwrap();
            }
        });
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        writing.await.unwrap();

        let (sender, body) = channel();
        sender.send(Ok(Bytes::from_static(b"a"))).await.unwrap();
        sender.send(Err(ApiError::internal().into())).await.unwrap();
        assert!(body.collect().await.is_err());
    }
}
