// Files that have every key that there is, one a line: what the tests of the configuration change.

export const KEY_A = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
export const KEY_B = "ed25519:PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=";

export const FULL_PAIR = `version: 1
pair: office
nodes:
  a:
    keys: [${KEY_A}]
    priority: 100
  b:
    keys: [${KEY_B}]
    priority: 90
lan:
  interface: lan
  addresses: [10.20.0.1/16, fd20::1/64]
  witnesses: [10.20.1.1, fd20::53]
  routes:
    - network: 10.30.0.0/16
      via: 10.20.0.254
  virtualMac: 02:00:00:00:00:01
links:
  - id: 1
    name: fibre
    interface: wan1
    gateway: [198.51.100.1, fe80::1]
    addresses: [198.51.100.2/24, 2001:db8:1::2/64]
    weight: 3
    capacity:
      up: 100M
      down: 1G
    singleMac: false
    virtualMac: 02:00:00:00:00:02
    enabled: true
  - id: 2
    name: cable
    interface: wan2
    gateway: 203.0.113.1
    addresses: [203.0.113.2/24]
paths:
  - name: sync
    interface: sync
    a: 10.255.0.1
    b: 10.255.0.2
    use: [heartbeat, replication]
  - { name: lan, interface: lan, a: 10.20.0.2, b: 10.20.0.3 }
timers:
  heartbeat: 10ms
  dead: 50ms
  lease: 40ms
  soloLease: 10s
placement:
  seed: 12345
replication:
  tcp: established
  udp: assured
  others: reply
  except:
    - protocol: udp
      port: 53
      network: 10.20.98.0/24
    - network: 10.20.99.0/24
helpers: [ftp, sip, "sip:5062"]
drill:
  at: Sun 03:00
`;

export const FULL_NODE = `node: a
pair: pair.yaml
interfaces:
  lan: eth0
  wan1: eth1
  wan2: eth2
  sync: eth3
key: node.key
state: /var/lib/understudy
runtime: /run/understudy
`;
