import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { AddressPolicy } from './address-policy.ts'

const TARGET = { host: 'registry.example.com', port: 443 }

const REFUSED: [address: string, kind: string][] = [
  ['0.0.0.0', 'unspecified'],
  ['0.1.2.3', 'unspecified'],
  ['10.0.0.1', 'private'],
  ['100.64.0.1', 'carrier-grade NAT'],
  ['100.100.100.200', 'carrier-grade NAT'],
  ['127.0.0.1', 'loopback'],
  ['127.255.255.254', 'loopback'],
  ['168.63.129.16', 'metadata'],
  ['169.254.0.1', 'link-local'],
  ['169.254.169.254', 'metadata'],
  ['172.16.0.1', 'private'],
  ['172.31.255.255', 'private'],
  ['192.0.0.192', 'reserved'],
  ['192.0.2.1', 'reserved'],
  ['192.168.1.1', 'private'],
  ['198.19.255.255', 'reserved'],
  ['224.0.0.1', 'multicast'],
  ['240.0.0.1', 'reserved'],
  ['255.255.255.255', 'reserved'],
  ['::', 'unspecified'],
  ['::1', 'loopback'],
  ['fe80::1', 'link-local'],
  ['fe80::1%eth0', 'link-local'],
  ['fec0::1', 'site-local'],
  ['fc00::1', 'unique local'],
  ['fd00:ec2::254', 'metadata'],
  ['ff02::1', 'multicast'],
  ['2001:db8::1', 'reserved'],
  ['2001::1', 'reserved'],
  ['100::1', 'reserved'],
  ['4000::1', 'reserved'],
  ['::127.0.0.1', 'reserved'],
  ['::ffff:127.0.0.1', 'loopback'],
  ['::ffff:7f00:1', 'loopback'],
  ['0:0:0:0:0:ffff:a00:1', 'private'],
  ['::ffff:0:169.254.169.254', 'metadata'],
  ['64:ff9b::10.0.0.1', 'private'],
  ['64:ff9b::a9fe:a9fe', 'metadata'],
  ['64:ff9b:1::1', 'reserved'],
  ['2002:7f00:1::', 'loopback'],
  ['2002:a9fe:a9fe::1', 'metadata'],
  ['', 'malformed'],
  ['localhost', 'malformed'],
  ['0x7f000001', 'malformed'],
]

for (const [address, kind] of REFUSED) {
  test(`${address || 'no address'} is refused as ${kind}`, () => {
    assert.deepEqual(new AddressPolicy([]).judge(TARGET, address), {
      isAllowed: false,
      kind,
      line: 'registry.example.com:443',
    })
  })
}

for (const address of [
  '1.1.1.1',
  '100.63.255.255',
  '100.128.0.0',
  '172.15.0.1',
  '172.32.0.1',
  '2606:4700:4700::1111',
  '::ffff:1.1.1.1',
  '64:ff9b::1.1.1.1',
  '2002:101:101::1',
]) {
  test(`${address} is allowed`, () => {
    assert.equal(new AddressPolicy([]).judge(TARGET, address).isAllowed, true)
  })
}

const ENTRIES: [entry: string, host: string, port: number, address: string, isAllowed: boolean][] = [
  ['registry.example.com', 'registry.example.com', 5000, '10.0.0.1', true],
  ['Registry.Example.com', 'REGISTRY.example.com.', 443, '10.0.0.1', true],
  ['registry.example.com:5000', 'registry.example.com', 5000, '10.0.0.1', true],
  ['registry.example.com:5000', 'registry.example.com', 443, '10.0.0.1', false],
  ['registry.example.com', 'evil.example.com', 443, '10.0.0.1', false],
  ['example.com', 'registry.example.com', 443, '10.0.0.1', false],
  ['10.0.0.0/8', 'anything.example', 443, '10.255.0.1', true],
  ['10.0.0.0/8', 'anything.example', 443, '::ffff:10.255.0.1', true],
  ['10.0.0.0/8', 'anything.example', 443, '11.0.0.1', true],
  ['10.0.0.0/8', 'anything.example', 443, '192.168.0.1', false],
  ['10.0.0.1', 'anything.example', 443, '10.0.0.1', true],
  ['10.0.0.1:5000', '10.0.0.1', 5000, '10.0.0.1', true],
  ['10.0.0.1:5000', '10.0.0.1', 5001, '10.0.0.1', false],
  ['::1', 'localhost', 443, '::1', true],
  ['[::1]:5000', '::1', 5000, '::1', true],
  ['[::1]:5000', '::1', 443, '::1', false],
  ['fd00::/8', 'anything.example', 443, 'fd12::1', true],
  ['fd00::/8', 'anything.example', 443, 'fe80::1', false],
]

for (const [entry, host, port, address, isAllowed] of ENTRIES) {
  test(`"${entry}" ${isAllowed ? 'lets' : 'does not let'} ${host}:${port} be at ${address}`, () => {
    assert.equal(new AddressPolicy([entry]).judge({ host, port }, address).isAllowed, isAllowed)
  })
}

test('an entry that is none is refused', () => {
  for (const entry of ['10.0.0.0/33', '10.0.0.0/x', 'a/8', '::/129', '', 'a b', 'user@host']) {
    assert.throws(() => new AddressPolicy([entry]), /SSRF_ALLOWED_HOSTS/, entry)
  }
})

test('what a proxy resolves may not be a private address or a local name', () => {
  const policy = new AddressPolicy(['allowed.internal', '10.1.0.0/16'])
  const judge = (host: string) => policy.judgeUnresolved({ host, port: 443 }).isAllowed
  for (const host of ['localhost', 'registry', 'a.local', 'x.internal', 'b.localhost', 'nas.home.arpa', 'c.corp.']) {
    assert.equal(judge(host), false, host)
  }
  for (const host of ['127.0.0.1', '::1', '169.254.169.254', '10.2.0.1']) assert.equal(judge(host), false, host)
  for (const host of ['quay.io', 'allowed.internal', '10.1.2.3', '1.1.1.1']) assert.equal(judge(host), true, host)
})

test('every IPv4 address is judged the same in each of its IPv6 forms', () => {
  const policy = new AddressPolicy([])
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      const verdict = policy.judge(TARGET, address)
      const groups = address.split('.').map((octet) => Number(octet).toString(16).padStart(2, '0'))
      const hexadecimal = `${groups[0]}${groups[1]}:${groups[2]}${groups[3]}`
      for (const form of [`::ffff:${address}`, `64:ff9b::${address}`, `2002:${hexadecimal}::`]) {
        assert.deepEqual(policy.judge(TARGET, form), verdict, form)
      }
    }),
  )
})

test('no text makes it throw', () => {
  const policy = new AddressPolicy([])
  fc.assert(fc.property(fc.oneof(fc.string(), fc.ipV6()), (text) => void policy.judge(TARGET, text)))
})
