//! Values of options, in the forms that SPDK's own apps take.

use spdk_safe::units::Mib;

/// The highest core number that a mask or a list may name; which of them the machine has is looked at later.
const HIGHEST: u32 = 1023;

/// `0x5` or `5`, a mask in hexadecimal digits; `[0,2]` or `[0-2,5]`, a list. Ascending, each core once.
pub(crate) fn cores(text: &str) -> Result<Vec<u32>, String> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let mut cores = match inner {
        Some(list) => cores_of_list(list)?,
        None => cores_of_mask(text)?,
    };
    cores.sort_unstable();
    cores.dedup();
    match cores.is_empty() {
        true => Err("it names no core".into()),
        false => Ok(cores),
    }
}

fn cores_of_list(list: &str) -> Result<Vec<u32>, String> {
    let number = |text: &str| {
        let number = text.trim().parse::<u32>().ok();
        number
            .filter(|core| *core <= HIGHEST)
            .ok_or_else(|| format!("{text:?} is no core number"))
    };
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("the range {part:?} ends before it begins"));
        }
        cores.extend(first..=last);
    }
    Ok(cores)
}

fn cores_of_mask(mask: &str) -> Result<Vec<u32>, String> {
    let digits = mask
        .strip_prefix("0x")
        .or_else(|| mask.strip_prefix("0X"))
        .unwrap_or(mask);
    if digits.is_empty() {
        return Err(
            "a mask has hexadecimal digits, such as 0x3; a list has brackets, such as [0,1]".into(),
        );
    }
    let mut cores = Vec::new();
    for (place, digit) in digits.chars().rev().enumerate() {
        let bits = digit.to_digit(16).ok_or_else(|| {
            format!("{digit:?} is no hexadecimal digit; a list has brackets, such as [0,1]")
        })?;
        for bit in (0..4).filter(|bit| bits >> bit & 1 == 1) {
            let core = u32::try_from(place * 4 + bit).ok();
            cores.push(
                core.filter(|core| *core <= HIGHEST)
                    .ok_or("a mask has at most 1024 bits")?,
            );
        }
    }
    Ok(cores)
}

/// `512` or `512M`: MiB; `2G`: GiB; `524288K`: KiB, whole MiB of them.
pub(crate) fn memory(text: &str) -> Result<Mib, String> {
    let (digits, kib_each) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1),
        Some((at, 'm' | 'M')) => (&text[..at], 1024),
        Some((at, 'g' | 'G')) => (&text[..at], 1024 * 1024),
        _ => (text, 1024),
    };
    let wrong = || "a number of MiB, or one with K, M or G after it".to_owned();
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    match number.checked_mul(kib_each).map(|kib| kib / 1024) {
        Some(mib) if mib > 0 => Ok(Mib(mib)),
        Some(_) => Err("it is less than 1 MiB".into()),
        None => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_hexadecimal_and_lists_have_brackets() {
        for (text, expected) in [
            ("0x1", vec![0]),
            ("5", vec![0, 2]),
            ("0XF0", vec![4, 5, 6, 7]),
            ("10", vec![4]),
            ("0x8000000000000000000000000000000", vec![123]),
            ("[0]", vec![0]),
            ("[1,0,10,1]", vec![0, 1, 10]),
            ("[0-2,5]", vec![0, 1, 2, 5]),
            ("[ 0 , 3 - 4 ]", vec![0, 3, 4]),
        ] {
            assert_eq!(cores(text).as_ref(), Ok(&expected), "{text}");
        }
        for text in [
            "",
            "0x",
            "0",
            "[]",
            "[",
            "0,1",
            "1-2",
            "xyz",
            "[a]",
            "[-1]",
            "[2-1]",
            "[1024]",
            "[0-4294967295]",
            "-1",
            "[0",
            "0]",
            "0x1g",
        ] {
            assert!(cores(text).is_err(), "{text:?}: {:?}", cores(text));
        }
        let too_wide = format!("1{}", "0".repeat(256));
        assert!(cores(&too_wide).is_err());
        let widest = format!("8{}", "0".repeat(255));
        assert_eq!(cores(&widest), Ok(vec![1023]));
    }

    #[test]
    fn memory_is_in_mib_if_nothing_else_is_said() {
        assert_eq!(memory("512"), Ok(Mib(512)));
        assert_eq!(memory("512M"), Ok(Mib(512)));
        assert_eq!(memory("2g"), Ok(Mib(2048)));
        assert_eq!(memory("2048k"), Ok(Mib(2)));
        assert_eq!(memory("3000K"), Ok(Mib(2)));
        for text in [
            "",
            "0",
            "M",
            "-1",
            "1.5G",
            "512MB",
            "1023k",
            "18446744073709551615G",
            "é",
        ] {
            assert!(memory(text).is_err(), "{text:?}: {:?}", memory(text));
        }
    }
}
