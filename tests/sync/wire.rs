//! Messages that are almost right: fields of a protobuf message changed, left out, repeated and exchanged at any depth,
//! or its bytes damaged.

use crate::chance::Chance;

enum Value {
    Varint(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

struct Field {
    number: u64,
    value: Value,
}

/// One to three changes of a valid message.
pub(crate) fn mutate(valid: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for _ in 0..chance.between(1, 3) {
        bytes = match parse(&bytes).filter(|_| !chance.once_in(3)) {
            Some(mut fields) => {
                let which = chance.below(count(&fields).max(1));
                change(&mut fields, &mut which.clone(), chance);
                let mut changed = Vec::new();
                write(&fields, &mut changed);
                changed
            }
            None => damage(bytes, chance),
        };
    }
    bytes
}

fn damage(mut bytes: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    if bytes.is_empty() {
        return vec![chance.next() as u8];
    }
    let at = chance.below(bytes.len() as u64) as usize;
    match chance.below(5) {
        0 => bytes[at] ^= 1 << chance.below(8),
        1 => bytes[at] = chance.one_of(&[0, 1, 0x7F, 0x80, 0xFF]),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, chance.next() as u8),
        _ => drop(bytes.remove(at)),
    }
    bytes
}

fn count(fields: &[Field]) -> u64 {
    let inner = |field: &Field| match &field.value {
        Value::Message(fields) => count(fields),
        _ => 0,
    };
    fields.iter().map(|field| 1 + inner(field)).sum()
}

/// Changes the field that `skip` counts down to; whether it was here.
fn change(fields: &mut Vec<Field>, skip: &mut u64, chance: &mut Chance) -> bool {
    for at in 0..fields.len() {
        if *skip == 0 {
            change_field(fields, at, chance);
            return true;
        }
        *skip -= 1;
        if let Value::Message(inner) = &mut fields[at].value
            && change(inner, skip, chance)
        {
            return true;
        }
    }
    false
}

fn change_field(fields: &mut Vec<Field>, at: usize, chance: &mut Chance) {
    match chance.below(10) {
        0 => drop(fields.remove(at)),
        1 => {
            let field = &fields[at];
            let mut bytes = Vec::new();
            write(std::slice::from_ref(field), &mut bytes);
            fields.extend(parse(&bytes).unwrap_or_default());
        }
        2 => fields.swap(at, 0),
        3 => fields[at].number = chance.between(1, 24),
        _ => change_value(&mut fields[at].value, chance),
    }
}

fn change_value(value: &mut Value, chance: &mut Chance) {
    match value {
        Value::Varint(number) => {
            let random = chance.next();
            let edges = [0, 1, 2, 3, 5, i32::MAX as u64, 1 << 31, u32::MAX.into(), 1 << 32];
            *number = match chance.below(4) {
                0 => chance.one_of(&edges),
                1 => chance.one_of(&[i64::MAX as u64, 1 << 63, u64::MAX, u64::MAX - 1]),
                2 => number.wrapping_add(random % 5).wrapping_sub(2),
                _ => random >> (random % 64),
            };
        }
        Value::Fixed(bytes) | Value::Bytes(bytes) => match chance.below(4) {
            0 => bytes.clear(),
            1 => {
                let long = chance.one_of(&[1, 16, 300, 70_000]);
                let byte = chance.next() as u8;
                bytes.resize(bytes.len() + long, byte);
            }
            _ => *bytes = damage(std::mem::take(bytes), chance),
        },
        Value::Message(_) => {
            *value = match chance.below(3) {
                0 => Value::Varint(chance.next()),
                1 => Value::Bytes(Vec::new()),
                _ => Value::Message(Vec::new()),
            };
        }
    }
}

fn parse(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed(bytes.split_off(..8)?.to_vec()),
            5 => Value::Fixed(bytes.split_off(..4)?.to_vec()),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let inner = bytes.split_off(..length)?;
                match parse(inner).filter(|_| !inner.is_empty()) {
                    Some(fields) => Value::Message(fields),
                    None => Value::Bytes(inner.to_vec()),
                }
            }
            _ => return None,
        };
        let number = tag >> 3;
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn write(fields: &[Field], to: &mut Vec<u8>) {
    for Field { number, value } in fields {
        let kind = match value {
            Value::Varint(_) => 0,
            Value::Fixed(bytes) if bytes.len() == 8 => 1,
            Value::Fixed(bytes) if bytes.len() == 4 => 5,
            Value::Fixed(_) | Value::Bytes(_) | Value::Message(_) => 2,
        };
        put_varint(number << 3 | kind, to);
        match value {
            Value::Varint(number) => put_varint(*number, to),
            Value::Fixed(bytes) if kind != 2 => to.extend(bytes),
            Value::Fixed(bytes) | Value::Bytes(bytes) => {
                put_varint(bytes.len() as u64, to);
                to.extend(bytes);
            }
            Value::Message(fields) => {
                let mut inner = Vec::new();
                write(fields, &mut inner);
                put_varint(inner.len() as u64, to);
                to.extend(inner);
            }
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

#[test]
fn what_is_not_changed_is_written_as_it_was_read() {
    use prost::Message;
    let valid = keyward_contract::feed::Hello {
        gateway_id: "edge-1".into(),
        revision: 300,
        history: vec![0xFF; 32],
        ..Default::default()
    };
    let bytes = valid.encode_to_vec();
    let mut written = Vec::new();
    write(&parse(&bytes).unwrap(), &mut written);
    assert_eq!(written, bytes);
}
