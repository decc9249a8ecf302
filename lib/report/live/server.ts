import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { createAdaptorServer } from '@hono/node-server'
import { Hono, type MiddlewareHandler } from 'hono'
import { secureHeaders } from 'hono/secure-headers'
import { streamSSE } from 'hono/streaming'
import { invalid } from '../../errors.js'
import { livePage } from './html.js'
import type { LiveStore } from './store.js'
import { liveStyle } from './style.js'

/** The page of a run under way, as it is served. */
export interface LiveServer {
  /** With the token, without which nothing is served. */
  readonly address: string
  close(): Promise<void>
}

export interface LiveContent {
  readonly store: LiveStore
  /** A picture that an entry names; undefined where none does. */
  image(file: string): Promise<Uint8Array | undefined>
}

/** Milliseconds after which a reader that nothing is told hears that there is nothing. */
const quiet = 15_000

/** The page's modules, where they import each other. */
const modules = ['page/page.js', 'page/charts.js', 'page/dom.js', 'page/sections.js', 'entries.js']

/**
 * Serves the page on this machine alone, to those who know its address: it is bound to the loopback interface, the address has a random token,
 * and the host that a browser asks for must be this machine by name, so that no other site's name can stand for it. It reads, and changes nothing.
 *
 * @param port 0: any that is free
 * @throws ContinualDiffusionError `ERR_INVALID_ARGUMENT` where the port is taken
 */
export async function serveLive(content: LiveContent, port: number): Promise<LiveServer> {
  const { store } = content
  const token = randomBytes(16).toString('base64url')
  const isToken = (given: string) => timingSafeEqual(digest(given), digest(token))
  let isOpen = true
  const app = new Hono()
  app.use(
    secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        styleSrc: ["'self'"],
        imgSrc: ["'self'", 'data:'],
        connectSrc: ["'self'"],
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
      },
      crossOriginResourcePolicy: 'same-origin',
      referrerPolicy: 'no-referrer',
      strictTransportSecurity: false,
    }),
  )
  app.use(async (context, next) => {
    if (!isThisMachine(context.req.header('host'))) return context.text('wrong host', 403)
    if (!['GET', 'HEAD'].includes(context.req.method)) return context.text('read only', 405, { allow: 'GET, HEAD' })
    context.header('cache-control', 'no-store')
    return next()
  })
  const isKnown: MiddlewareHandler<object, '/:token'> = (context, next) =>
    isToken(context.req.param('token')) ? next() : Promise.resolve(context.notFound())
  app.use('/:token/*', isKnown)
  app.get('/:token', (context) => context.redirect(`/${token}/`))
  app.get('/:token/', (context) => context.html(livePage()))
  app.get('/:token/style.css', (context) =>
    context.body(liveStyle(), 200, { 'content-type': 'text/css; charset=utf-8' }),
  )
  for (const [name, file] of scripts()) {
    app.get(`/:token/${name}`, async (context) => {
      const script = await readFile(file)
      return context.body(new Uint8Array(script), 200, { 'content-type': 'text/javascript; charset=utf-8' })
    })
  }
  app.get('/:token/image', async (context) => {
    const png = await content.image(context.req.query('file') ?? '')
    if (png === undefined) return context.notFound()
    return context.body(new Uint8Array(png), 200, { 'content-type': 'image/png' })
  })
  app.get('/:token/events', (context) => {
    const known = Number(context.req.header('last-event-id') ?? 0)
    let sent = Number.isSafeInteger(known) && known >= 0 && known <= store.version ? known : 0
    return streamSSE(context, async (stream) => {
      while (isOpen && !stream.aborted) {
        for (const { version, json } of store.since(sent)) {
          // Waits for the reader, so that nothing piles up here.
          await stream.writeSSE({ id: String(version), event: 'entry', data: json })
          sent = version
        }
        if (store.since(sent).length > 0) continue
        await store.changed(quiet)
        if (isOpen && store.since(sent).length === 0) await stream.write(': nothing new\n\n')
      }
      await stream.writeSSE({ event: 'end', data: '' })
    })
  })

  const server = createAdaptorServer({ fetch: app.fetch })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EADDRINUSE' && cause.code !== 'EACCES') throw cause
    const why = cause.code === 'EACCES' ? 'may not be used' : 'is taken'
    throw invalid(
      `watchRun: port is ${port}, which ${why}; name another one, or none: then one that is free is found`,
      cause,
    )
  })
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/${token}/`,
    async close() {
      isOpen = false
      store.wake()
      const closed = once(server, 'close')
      server.close()
      // Readers get the end of what they are told, and a moment to take it.
      setTimeout(() => 'closeAllConnections' in server && server.closeAllConnections(), 200)
      await closed
    },
  }
}

/** Whether the host of a request is a name of the loopback interface; its port may be another, as through a tunnel. */
function isThisMachine(host: string | undefined): boolean {
  return /^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/i.test(host ?? '')
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** The page's own modules, and ECharts in one file. */
function scripts(): [name: string, file: string][] {
  const own = modules.map((name): [string, string] => [name, fileURLToPath(new URL(name, import.meta.url))])
  const echarts = path.join(path.dirname(createRequire(import.meta.url).resolve('echarts')), 'echarts.min.js')
  return [...own, ['echarts.js', echarts]]
}
