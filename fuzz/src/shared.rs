//! What another VM has put into shared data, which may run another version of this module.

use consul_resolver::shared::members::Members;
use consul_resolver::shared::message::Message;
use consul_resolver::shared::snapshot_record::SnapshotRecord;
use consul_resolver::shared::source_record::SourceRecord;

/// The least that an endpoint and a member take.
const ENDPOINT: usize = 9;
const MEMBER: usize = 12;

/// Reads the input as each of the forms. What reads well is written back and read again to the
/// same; a message and a record have one form only, so they are written back to the letter.
pub fn check(input: &[u8]) {
    match SnapshotRecord::decode(input) {
        Ok(record) => {
            assert_eq!(record.encode(), input, "{record:?}");
            let endpoints = record.snapshot.endpoints();
            assert!(endpoints.len() * ENDPOINT <= input.len());
            assert!(endpoints.is_sorted_by(|a, b| a.address < b.address), "{endpoints:?}");
        }
        Err(error) => super::check_error(&error, 200),
    }
    match Message::decode(input) {
        Ok(message) => assert_eq!(message.encode(), input, "{message:?}"),
        Err(error) => super::check_error(&error, 200),
    }
    match SourceRecord::decode(input) {
        Ok(head) => {
            let written = head.encode();
            assert_eq!(written.len(), input.len());
            assert_eq!(SourceRecord::decode(&written), Ok(head));
        }
        Err(error) => super::check_error(&error, 200),
    }
    match Members::decode(input) {
        Ok(members) => {
            assert!(members.iter().count() * MEMBER < input.len());
            assert_eq!(Members::decode(&members.encode()), Ok(members));
        }
        Err(error) => super::check_error(&error, 200),
    }
}
