//! The limits of cursors, which hold whatever a caller passes.

use super::super::cursor::{Buffer, Cursor, SLOTS, TOKEN_ROOM, Tokens, with_buffer};

/// What `write` appends to a vector that is full, so that any byte beyond the room is one too many.
fn written<const ROOM: usize, const LEFT: usize>(
    write: impl for<'id> Fn(&mut Buffer<'id, '_>, Cursor<'id, ROOM>) -> Cursor<'id, LEFT>,
) -> String {
    let mut out = Vec::with_capacity(5);
    out.extend_from_slice(b"start");
    with_buffer(&mut out, |mut buffer, cursor| {
        let end = write(&mut buffer, cursor);
        buffer.finish(end);
    });
    String::from_utf8(out).unwrap()
}

#[test]
fn no_more_bytes_count_than_were_written() {
    assert_eq!("startabc", written::<3, 0>(|_, cursor| cursor.put(*b"abc", usize::MAX)));
    assert_eq!("startabcd", written::<4, 0>(|_, cursor| cursor.put_and(*b"abc", 9, b'd')));
    assert_eq!(
        "start12345678>",
        written::<17, 0>(|_, cursor| cursor.put_ends_and(*b"12345678", *b"12345678", 0, b'>'))
    );
    let both = written::<17, 0>(|_, cursor| cursor.put_ends_and(*b"12345678", *b"abcdefgh", 99, b'>'));
    assert_eq!("start12345678abcdefgh>", both);
}

#[test]
fn a_cursor_goes_back_to_the_beginning_at_most() {
    assert_eq!("star", written::<0, 0>(|buffer, cursor| buffer.back(cursor, 1)));
    assert_eq!("", written::<0, 0>(|buffer, cursor| buffer.back(cursor, 6)));
}

#[test]
fn blocks_are_written_whatever_their_number_and_room_is_made() {
    for length in 0..100 {
        let text = "0123456789".repeat(10)[..length].to_owned();
        let put = |wanted: bool| {
            written::<0, 0>(|buffer, cursor| {
                buffer.put_blocks_and(cursor, text.as_bytes(), b'"', |_| wanted).unwrap_or_else(|cursor| cursor)
            })
        };
        assert_eq!("start", put(false));
        let whole = format!("start{text}\"");
        assert_eq!(if length < 16 { "start" } else { whole.as_str() }, put(true));
    }
}

#[test]
fn a_token_is_written_again_under_its_address_alone() {
    let text = written::<{ 3 * TOKEN_ROOM }, 0>(|buffer, cursor| {
        let mut tokens = Tokens::new();
        let start = buffer.offset(&cursor);
        let cursor: Cursor<'_, { 2 * TOKEN_ROOM }> = cursor.put(*b"key: ", 5);
        tokens.keep(3, 77, buffer, start, &cursor);
        // Nothing begins behind the cursor.
        tokens.keep(4, 78, buffer, start + 6, &cursor);
        let Err(cursor) = tokens.put::<_, TOKEN_ROOM>(4, 78, cursor) else { panic!("there is no such token") };
        let Ok(cursor) = tokens.put::<_, TOKEN_ROOM>(3 + SLOTS, 77, cursor) else { panic!("the token is known") };
        let Err(cursor) = tokens.put::<_, 0>(3, 78, cursor) else { panic!("the address is another") };
        cursor.limit()
    });
    assert_eq!("startkey: key: ", text);
}
