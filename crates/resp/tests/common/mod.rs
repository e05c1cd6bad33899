//! What several tests need.

use bytes::Bytes;
use proptest::prelude::*;
use resp::Value;

/// Any value whose decoding gives it back (RESP3 has one null, and a NaN is not equal to itself).
pub fn any_value() -> impl Strategy<Value = Value> {
    let text = "[ -~é]{0,12}";
    let bytes = || prop::collection::vec(any::<u8>(), 0..24).prop_map(Bytes::from);
    let leaf = prop_oneof![
        text.prop_map(|text| Value::Simple(text.into())),
        text.prop_map(Value::error),
        any::<i64>().prop_map(Value::Integer),
        bytes().prop_map(Value::Bulk),
        Just(Value::Null),
        any::<f64>()
            .prop_filter("NaN is not equal to itself", |number| !number.is_nan())
            .prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
        "-?[0-9]{1,40}".prop_map(|digits| Value::BigNumber(digits.into())),
        bytes().prop_map(|text| Value::Verbatim(*b"mkd", text)),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Set),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Push),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
        ]
    })
}
