//! Bytes that no honest git server sends.

use std::io::{Read, Write};
use std::net::TcpStream;

/// An object id that stands for the tip of a server which has nothing honest to offer.
const TIP: &str = "1111111111111111111111111111111111111111";

/// One packet of the git protocol.
pub(crate) fn packet(text: &[u8]) -> Vec<u8> {
    [format!("{:04x}", text.len() + 4).as_bytes(), text].concat()
}

/// Reads packets until a flush; `None` at the end of the stream.
fn read_to_flush(from: &mut impl Read) -> Option<Vec<Vec<u8>>> {
    let mut packets = Vec::new();
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length).ok()?;
        let length = usize::from_str_radix(std::str::from_utf8(&length).ok()?, 16).ok()?;
        if length == 0 {
            return Some(packets);
        }
        let mut packet = vec![0; length.checked_sub(4)?];
        from.read_exact(&mut packet).ok()?;
        packets.push(packet);
    }
}

fn read_packet(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let length = usize::from_str_radix(std::str::from_utf8(&length).ok()?, 16).ok()?;
    let mut packet = vec![0; length.saturating_sub(4)];
    from.read_exact(&mut packet).ok()?;
    Some(packet)
}

/// Serves `pack` over `git://` to whoever asks, whatever they ask for.
pub(crate) fn serve_pack(mut connection: TcpStream, pack: &[u8]) -> Option<()> {
    read_packet(&mut connection)?;
    let tip = format!("{TIP} refs/heads/mesh\0 shallow ofs-delta agent=hostile\n");
    connection.write_all(&packet(tip.as_bytes())).ok()?;
    connection.write_all(b"0000").ok()?;
    let wants = read_to_flush(&mut connection)?;
    if wants.iter().any(|want| want.starts_with(b"deepen")) {
        connection.write_all(&packet(format!("shallow {TIP}").as_bytes())).ok()?;
        connection.write_all(b"0000").ok()?;
    }
    while !read_packet(&mut connection)?.starts_with(b"done") {}
    connection.write_all(&packet(b"NAK\n")).ok()?;
    connection.write_all(pack).ok()
}

/// Kinds of objects in a pack.
#[derive(Clone, Copy)]
enum Kind {
    Blob = 3,
    OffsetDelta = 6,
}

fn object_header(kind: Kind, size: u64) -> Vec<u8> {
    let mut first = (kind as u8) << 4 | (size & 15) as u8;
    let mut rest = size >> 4;
    let mut bytes = Vec::new();
    while rest > 0 {
        bytes.push(first | 0x80);
        first = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    bytes.push(first);
    bytes
}

fn offset(mut distance: u64) -> Vec<u8> {
    let mut bytes = vec![(distance & 0x7f) as u8];
    while distance > 0x7f {
        distance = (distance >> 7) - 1;
        bytes.insert(0, 0x80 | (distance & 0x7f) as u8);
    }
    bytes
}

fn pack_header(objects: u32) -> Vec<u8> {
    [b"PACK".as_slice(), &2_u32.to_be_bytes(), &objects.to_be_bytes()].concat()
}

/// A zlib stream that stores `bytes` as they are.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("a short block");
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(&(!length).to_le_bytes());
        stream.extend_from_slice(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for &byte in bytes {
        a = (a + u32::from(byte)) % 65521;
        b = (b + a) % 65521;
    }
    stream.extend_from_slice(&(b << 16 | a).to_be_bytes());
    stream
}

/// Writes bits from the lowest up, as deflate wants them.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    pending: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, bits: u32) {
        self.pending |= value << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.bytes.push((self.pending & 0xff) as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    /// A Huffman code, which goes highest bit first.
    fn code(&mut self, value: u32, bits: u32) {
        self.put(value.reverse_bits() >> (32 - bits), bits);
    }
}

/// A pack with one blob of about `size` zeros, in 1/158 of that: one literal, then the longest match again and again.
pub(crate) fn zlib_bomb(size: u64) -> Vec<u8> {
    let repeats = size / 258;
    let mut bits = Bits { bytes: vec![0x78, 0x01], ..Bits::default() };
    bits.put(0b011, 3);
    bits.code(0x30, 8);
    for _ in 0..repeats {
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    bits.put(0, 7);
    let mut pack = pack_header(1);
    pack.extend(object_header(Kind::Blob, repeats * 258 + 1));
    pack.extend(bits.bytes);
    // Adler-32 of zeros: the first sum stays 1, the second counts the bytes.
    let length = u32::try_from((repeats * 258 + 1) % 65521).expect("a small number");
    pack.extend((length << 16 | 1).to_be_bytes());
    sealed(pack)
}

/// A pack whose third object is made of copies of the second, and that of copies of the first.
pub(crate) fn delta_bomb(size: u64) -> Vec<u8> {
    let base = vec![0_u8; 0x1_0000];
    let middle_copies = 255;
    let middle = 0x1_0000 * middle_copies;
    let last_copies = size / middle;
    let mut pack = pack_header(3);
    let mut at = pack.len() as u64;
    pack.extend(object_header(Kind::Blob, base.len() as u64));
    pack.extend(stored(&base));
    // 0x80: copy from offset 0 with the default length of 64 KiB; 0xf0: with three bytes of length.
    let first = delta(base.len() as u64, middle, &[0x80], middle_copies);
    let length = middle.to_le_bytes();
    let second = delta(middle, middle * last_copies, &[0xf0, length[0], length[1], length[2]], last_copies);
    for delta in [first, second] {
        let here = pack.len() as u64;
        pack.extend(object_header(Kind::OffsetDelta, delta.len() as u64));
        pack.extend(offset(here - at));
        pack.extend(stored(&delta));
        at = here;
    }
    sealed(pack)
}

/// The pack with its checksum, without which no delta is looked at.
#[expect(clippy::disallowed_methods, reason = "SHA-1 from a program that every system has")]
fn sealed(mut pack: Vec<u8>) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&pack).expect("written");
    let output = std::process::Command::new("sha1sum").arg(file.path()).output().expect("apt-get install coreutils");
    let hex = String::from_utf8(output.stdout).expect("hexadecimal");
    pack.extend((0..20).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hexadecimal")));
    pack
}

fn delta(from: u64, to: u64, copy: &[u8], copies: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut size in [from, to] {
        while size > 0x7f {
            bytes.push(0x80 | (size & 0x7f) as u8);
            size >>= 7;
        }
        bytes.push((size & 0x7f) as u8);
    }
    for _ in 0..copies {
        bytes.extend_from_slice(copy);
    }
    bytes
}
