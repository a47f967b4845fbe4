import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import { parseHostTopology } from '#scion/host-topology';
import { parseIsdAs } from '#scion/isd-as';
import { parseTopology, routerOf } from '#scion/topology';
import { seeded } from '../../random.ts';

const Topologies = suite('topology.json');

/** The leaf AS of the two-AS example in the official manual's form. */
const leaf = () => ({
  isd_as: '1-ff00:0:111',
  mtu: 1472,
  attributes: [] as string[],
  dispatched_ports: 'all',
  timestamp: 1700000000,
  border_routers: {
    'br1-ff00_0_111-1': {
      internal_addr: '10.111.0.1:30042',
      interfaces: {
        '41': {
          underlay: { local: '192.0.2.2:50000', remote: '192.0.2.1:50000' } as Record<string, string>,
          isd_as: '1-ff00:0:110',
          link_to: 'PARENT',
          mtu: 1472,
        } as Record<string, unknown>,
      } as Record<string, unknown>,
    },
    'br1-ff00_0_111-2': {
      internal_addr: '10.111.0.4:30042',
      interfaces: {
        '42': {
          underlay: { provider: 'udpip', local: ':50000', remote: '[2001:db8::2]:50000' },
          isd_as: '1-ff00:0:112',
          link_to: 'peer',
          mtu: 1452,
          remote_interface_id: 7,
          bfd: { disable: true, detect_mult: 3, desired_min_tx_interval: '200ms', required_min_rx_interval: '1s' },
        },
      },
    },
  },
  control_service: { 'cs1-ff00_0_111-1': { addr: '10.111.0.2:30252' } },
  sigs: { sig1: { ctrl_addr: '10.111.0.3:30256', data_addr: '10.111.0.3:30056', allow_interfaces: [41] } },
});

Topologies('the example of the manual is read', () => {
  const topology = parseTopology(leaf());
  assert.is(topology.isdAs, '1-ff00:0:111');
  assert.is(topology.core, false);
  assert.equal(topology.dispatchedPorts, { min: 1, max: 65535 });
  assert.equal(topology.routers[0], {
    name: 'br1-ff00_0_111-1',
    internal: { host: '10.111.0.1', port: 30042 },
    interfaces: [
      {
        id: 41,
        local: { host: '192.0.2.2', port: 50000 },
        remote: { host: '192.0.2.1', port: 50000 },
        neighbour: parseIsdAs('1-ff00:0:110'),
        linkTo: 'parent',
        mtu: 1472,
        remoteInterfaceId: undefined,
        bfd: { disable: false },
      },
    ],
  });
  const peer = topology.routers[1]!.interfaces[0]!;
  assert.equal(peer.local, { host: '', port: 50000 });
  assert.is(peer.remoteInterfaceId, 7);
  assert.equal(peer.bfd, { disable: true, detectMult: 3, desiredMinTxMs: 200, requiredMinRxMs: 1000 });
  assert.equal(topology.controlServices, [{ name: 'cs1-ff00_0_111-1', host: '10.111.0.2', port: 30252 }]);
  assert.equal(topology.sigs[0], {
    name: 'sig1',
    control: { host: '10.111.0.3', port: 30256 },
    data: { host: '10.111.0.3', port: 30056 },
    probe: { host: '10.111.0.3', port: 30856 },
    allowInterfaces: [41],
  });
});

Topologies('the forms of the dispatched range', () => {
  const range = (text?: string) => parseTopology({ ...leaf(), dispatched_ports: text }).dispatchedPorts;
  assert.equal(range('31000-32767'), { min: 31000, max: 32767 });
  assert.is(range(), undefined);
  for (const text of ['', '-']) {
    const { min, max } = range(text)!;
    assert.ok(min > max);
  }
});

Topologies('an error names the key and what was expected', () => {
  const wrong = (change: (t: ReturnType<typeof leaf>) => void, key: string) => {
    const json = leaf();
    change(json);
    assert.throws(
      () => parseTopology(json),
      (e: unknown) => e instanceof S3mpError && e.code === 'scion.topology' && e.message.startsWith(key),
      key,
    );
  };
  const interfaceOf = (t: ReturnType<typeof leaf>) =>
    t.border_routers['br1-ff00_0_111-1'].interfaces['41'] as Record<string, unknown>;
  const prefix = 'border_routers.br1-ff00_0_111-1.interfaces';
  wrong((t) => (t.isd_as = '1-0'), 'isd_as');
  wrong((t) => (t.mtu = 0), 'mtu');
  wrong((t) => (t.attributes = ['corr']), 'attributes');
  wrong((t) => (t.attributes = ['core']), `${prefix}.41.link_to`);
  wrong((t) => (t.dispatched_ports = '5-4'), 'dispatched_ports');
  wrong((t) => (interfaceOf(t).link_to = 'core'), `${prefix}.41.link_to`);
  wrong((t) => (interfaceOf(t).isd_as = 5), `${prefix}.41.isd_as`);
  wrong(
    (t) => (interfaceOf(t).underlay = { local: '192.0.2.2', remote: '192.0.2.1:1' }),
    `${prefix}.41.underlay.local`,
  );
  wrong((t) => (interfaceOf(t).underlay = { local: ':1', remote: ':1' }), `${prefix}.41.underlay.remote`);
  wrong((t) => (interfaceOf(t).underlay = { provider: 'afpacket' }), `${prefix}.41.underlay.provider`);
  wrong((t) => (interfaceOf(t).bfd = { detect_mult: 0 }), `${prefix}.41.bfd.detect_mult`);
  wrong((t) => (interfaceOf(t).bfd = { desired_min_tx_interval: '1h30m' }), `${prefix}.41.bfd.desired_min_tx_interval`);
  wrong((t) => (t.border_routers['br1-ff00_0_111-1'].interfaces['042'] = interfaceOf(t)), `${prefix}.042`);
  wrong(
    (t) => (t.border_routers['br1-ff00_0_111-1'].interfaces['42'] = interfaceOf(t)),
    'border_routers.br1-ff00_0_111-2',
  );
  wrong(
    (t) => (t.border_routers['br1-ff00_0_111-2'].interfaces['42'].remote_interface_id = 0),
    'border_routers.br1-ff00_0_111-2',
  );
  wrong((t) => (t.sigs.sig1.allow_interfaces = [0]), 'sigs.sig1.allow_interfaces[0]');
  assert.throws(() => parseTopology(null), /topology: expected an object/);
});

Topologies('a host takes its part of the file, whatever the rest says', () => {
  const { ia, isdAs, core, mtu, dispatchedPorts, controlServices, routers } = parseTopology(leaf());
  const parts = routers.map(({ internal, interfaces }) => ({
    internal,
    interfaces: interfaces.map(({ id }) => ({ id })),
  }));
  const host = { ia, isdAs, core, mtu, dispatchedPorts, routers: parts, controlServices };
  assert.equal(parseHostTopology(leaf()), host);
  assert.equal(parseHostTopology({ ...leaf(), sigs: 5 }), host);
});

Topologies('the router to run is the only one or the one named', () => {
  const topology = parseTopology(leaf());
  assert.is(routerOf(topology, 'br1-ff00_0_111-2').internal.host, '10.111.0.4');
  assert.throws(() => routerOf(topology), /br1-ff00_0_111-1, br1-ff00_0_111-2/);
  assert.throws(() => routerOf(topology, 'br9'), /no border router br9/);
  const one = leaf() as { border_routers: Record<string, unknown> };
  delete one.border_routers['br1-ff00_0_111-2'];
  assert.is(routerOf(parseTopology(one)).name, 'br1-ff00_0_111-1');
});

Topologies('any change of any value is read or refused with its own error', () => {
  const random = seeded();
  const values = [undefined, null, 0, -1, 1.5, 1e99, '', 'x', ':1', '1-1', [], [null], {}, { a: {} }, true];
  let refused = 0;
  for (let i = 0; i < 20_000; i++) {
    let node = leaf() as unknown as Record<string, unknown>;
    const root = node;
    for (;;) {
      const keys = Object.keys(node);
      const key = keys[random.below(keys.length)];
      if (key === undefined) break;
      const child = node[key];
      if (typeof child !== 'object' || child === null || random.below(4) === 0) {
        node[key] = values[random.below(values.length)];
        break;
      }
      node = child as Record<string, unknown>;
    }
    try {
      parseTopology(root);
    } catch (error) {
      assert.ok(error instanceof S3mpError && error.code === 'scion.topology', String(error));
      refused++;
    }
  }
  assert.ok(refused > 5000 && refused < 20_000, `${refused} refused`);
});

Topologies.run();
