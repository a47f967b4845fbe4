/** gRPC calls over real cleartext HTTP/2 connections, and what goes wrong with them. */

import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GrpcClient, GrpcError, GrpcStatus } from '#hw/grpc';
import { GUARD_MS } from '#test/guard';
import { framed, GrpcServer, type Handler, respond } from './grpc-server.ts';

const METHOD = '/test.Service/Method';
const Grpc = suite('gRPC client');

async function withServer(handler: Handler, run: (client: GrpcClient, server: GrpcServer) => Promise<void>) {
  const server = await GrpcServer.start(handler);
  const client = new GrpcClient({ address: server.address, timeoutMs: GUARD_MS });
  try {
    await run(client, server);
  } finally {
    client.close();
    await server.close();
  }
}

async function failure(call: Promise<unknown>): Promise<GrpcError> {
  try {
    await call;
  } catch (error) {
    assert.instance(error, GrpcError);
    return error as GrpcError;
  }
  throw new Error('the call did not fail');
}

Grpc('a call carries the message and headers, and brings back the answer', () =>
  withServer(
    ({ method, message, headers }) => {
      assert.is(method, METHOD);
      assert.is(headers.te, 'trailers');
      assert.is(headers['content-type'], 'application/grpc');
      return Uint8Array.from(message).reverse();
    },
    async (client, server) => {
      assert.equal(await client.unary(METHOD, Uint8Array.of(1, 2, 3)), Uint8Array.of(3, 2, 1));
      assert.equal(await client.unary(METHOD, new Uint8Array(0)), new Uint8Array(0));
      const many = await Promise.all(Array.from({ length: 50 }, (_, i) => client.unary(METHOD, Uint8Array.of(i))));
      assert.equal(many.map((answer) => answer[0]).slice(0, 3), [0, 1, 2]);
      assert.is(server.connections, 1);
    },
  ),
);

Grpc('large messages pass both ways', () =>
  withServer(
    ({ message }) => message,
    async (client) => {
      const large = new Uint8Array(1_000_000).fill(7);
      assert.equal(await client.unary(METHOD, large), large);
    },
  ),
);

Grpc("the server's refusal comes with its status and words", () =>
  withServer(
    () => ({ status: 2, message: 'bad destination AS {dst=0-ff00:0:110} ä' }),
    async (client) => {
      const error = await failure(client.unary(METHOD, new Uint8Array(0)));
      assert.equal([error.status, error.answered], [2, true]);
      assert.is(error.message, 'bad destination AS {dst=0-ff00:0:110} ä');
    },
  ),
);

Grpc('a refusal after the answer began counts', () =>
  withServer(
    ({ stream }) => {
      respond(stream, framed(Uint8Array.of(1)), 13);
      return undefined;
    },
    async (client) => assert.is((await failure(client.unary(METHOD, new Uint8Array(0)))).status, 13),
  ),
);

Grpc('broken answers are errors of this side', async () => {
  const bodies: [Uint8Array, RegExp][] = [
    [new Uint8Array(0), /no message/],
    [framed(Uint8Array.of(1), 1), /compressed/],
    [framed(Uint8Array.of(1, 2, 3)).subarray(0, 6), /3 bytes in a body of 6/],
    [Buffer.concat([framed(Uint8Array.of(1)), framed(Uint8Array.of(2))]), /body of 12/],
    [new Uint8Array(5_000_000), /exceeds/],
  ];
  for (const [body, words] of bodies) {
    await withServer(
      ({ stream }) => {
        respond(stream, body);
        return undefined;
      },
      async (client) => {
        const error = await failure(client.unary(METHOD, new Uint8Array(0)));
        assert.match(error.message, words);
        assert.not(error.answered);
      },
    );
  }
});

Grpc('an HTTP answer that is not gRPC is told', () =>
  withServer(
    ({ stream }) => {
      stream.respond({ ':status': 404 }, { endStream: true });
      return undefined;
    },
    async (client) => assert.match((await failure(client.unary(METHOD, new Uint8Array(0)))).message, /HTTP status 404/),
  ),
);

Grpc('silence ends at the time limit, and the connection serves the next call', async () => {
  let silent = true;
  await withServer(
    () => (silent ? undefined : Uint8Array.of(9)),
    async (client) => {
      const error = await failure(client.unary(METHOD, new Uint8Array(0), 50));
      assert.is(error.status, GrpcStatus.deadlineExceeded);
      silent = false;
      assert.equal(await client.unary(METHOD, new Uint8Array(0)), Uint8Array.of(9));
    },
  );
});

Grpc('nobody there is told at once, and a server that comes back is found', async () => {
  const first = await GrpcServer.start(() => Uint8Array.of(1));
  const { address, port } = first;
  const client = new GrpcClient({ address, timeoutMs: GUARD_MS });
  try {
    await client.unary(METHOD, new Uint8Array(0));
    await first.close();
    const error = await failure(client.unary(METHOD, new Uint8Array(0)));
    assert.is(error.status, GrpcStatus.unavailable);
    const second = await GrpcServer.start(() => Uint8Array.of(2), port);
    assert.equal(await client.unary(METHOD, new Uint8Array(0)), Uint8Array.of(2));
    await second.close();
  } finally {
    client.close();
  }
});

Grpc('a connection lost in the middle of a call is an error', () =>
  withServer(
    ({ stream }) => {
      stream.session?.destroy();
      return undefined;
    },
    async (client) =>
      assert.is((await failure(client.unary(METHOD, new Uint8Array(0)))).status, GrpcStatus.unavailable),
  ),
);

Grpc('servers of other protocols are errors, not hangs', async () => {
  const http = createHttpServer((_, response) => response.end('hello'));
  const mute = createTcpServer(() => {});
  const babble = createTcpServer((socket) => {
    socket.on('error', () => {});
    socket.write('220 mail.example ESMTP\r\n');
  });
  for (const server of [http, mute, babble]) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const client = new GrpcClient({ address: `127.0.0.1:${port}`, timeoutMs: 200 });
    await failure(client.unary(METHOD, new Uint8Array(0)));
    client.close();
    server.close();
  }
});

Grpc.run();
