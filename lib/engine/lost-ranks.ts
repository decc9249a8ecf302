import { randomBytes } from 'node:crypto'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'

/** Milliseconds within which a process reaches the first one at one of its addresses. */
const patience = 3000
/** After so many milliseconds of silence the system asks whether the other machine is still there, ten times a second apart. */
const silence = 5000
/** What a process says before it ends in order. */
const bye = 'bye'

/** What a process does with the others. */
interface Ranks {
  readonly rank: number
  readonly size: number
  /** A string of the first process, at all. */
  tell(text: string): Promise<string>
  /** Replaces numbers by their sums over all processes. */
  sum(numbers: Uint8Array): Promise<void>
}

/** The watch over the other processes of a group. */
export interface Watch {
  /** Tells the others that this process ends in order, before it returns: an `exit` listener may call it. */
  leave(): void
  /** Ranks that can't be watched, as they can't reach the first one. */
  readonly unseen: readonly number[]
}

/** Where the first process waits, and the words by which they know each other. */
interface Meeting {
  readonly port: number
  readonly hosts: readonly string[]
  readonly question: string
  readonly answer: string
}

/**
 * Notices where another process of the group is killed, or its machine fails: MPI and NCCL then wait for ever, and not every launcher ends the
 * others. Each process holds a TCP connection to the first one, which the system closes with the process. All processes call it.
 *
 * @param isLocal whether all are on this machine
 * @param onLost called with the rank of each process that ends without a word
 */
export async function watchRanks(group: Ranks, isLocal: boolean, onLost: (rank: number) => void): Promise<Watch> {
  const isFirst = group.rank === 0
  const first = isFirst ? await openWatch(isLocal, onLost) : undefined
  const meeting: Meeting = JSON.parse(await group.tell(JSON.stringify(first?.meeting)))
  const other = isFirst ? undefined : await reach(meeting, group.rank, onLost)
  const seen = new Uint8Array(group.size)
  if (isFirst || other) seen[group.rank] = 1
  await group.sum(seen)
  const unseen = [...seen.keys()].filter((rank) => seen[rank] === 0)
  return { leave: () => (first ?? other)?.leave(), unseen }
}

async function openWatch(isLocal: boolean, onLost: (rank: number) => void) {
  const [question, answer] = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')]
  const sockets = new Map<number, Socket>()
  const server = createServer((socket) => {
    hold(socket)
    let rank: number | undefined
    onLine(socket, (line) => {
      if (line === bye && rank !== undefined) return sockets.delete(rank)
      if (!line.startsWith(`${question} `)) return socket.destroy()
      rank = Number(line.slice(question.length))
      sockets.set(rank, socket)
      socket.write(`${answer}\n`)
    })
    socket.on('close', () => {
      if (rank === undefined || !sockets.delete(rank)) return
      for (const one of sockets.values()) one.write(`${rank}\n`)
      onLost(rank)
    })
  })
  const port = await listening(server, isLocal)
  const addresses = Object.values(networkInterfaces()).flatMap((list = []) =>
    list.filter(({ internal, scopeid }) => !internal && !scopeid).map(({ address }) => address),
  )
  const hosts = isLocal ? ['127.0.0.1'] : [hostname(), ...addresses]
  const leave = () => {
    for (const socket of sockets.values()) socket.write(`${bye}\n`)
    sockets.clear()
  }
  return { meeting: { port, hosts, question, answer }, leave }
}

/** The port; 0 where none can be had. */
async function listening(server: Server, isLocal: boolean): Promise<number> {
  server.unref()
  return new Promise((resolve) => {
    server.on('error', () => resolve(0))
    server.listen(0, isLocal ? '127.0.0.1' : undefined, () => {
      const address = server.address()
      resolve(typeof address === 'object' && address ? address.port : 0)
    })
  })
}

async function reach({ port, hosts, question, answer }: Meeting, rank: number, onLost: (rank: number) => void) {
  for (const host of port > 0 ? hosts : []) {
    const socket = connect({ host, port })
    const isOver = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => socket.destroy(), patience)
      socket.on('connect', () => socket.write(`${question} ${rank}\n`))
      let isKnown = false
      let hasLeft = false
      onLine(socket, (line) => {
        if (isKnown && line === bye) hasLeft = true
        else if (isKnown) onLost(Number(line))
        else if (line !== answer) socket.destroy()
        else {
          isKnown = true
          clearTimeout(timer)
          hold(socket)
          resolve(false)
        }
      })
      socket.on('error', () => {}) // it is closed then, too
      socket.on('close', () => {
        clearTimeout(timer)
        if (isKnown && !hasLeft) onLost(0)
        resolve(true)
      })
    })
    if (!isOver) return { leave: () => void socket.write(`${bye}\n`) }
  }
  return undefined
}

/** A connection that does not keep the process. */
function hold(socket: Socket): void {
  socket.unref()
  socket.setKeepAlive(true, silence)
  socket.on('error', () => {}) // it is closed then, too
}

function onLine(socket: Socket, take: (line: string) => void): void {
  let rest = ''
  socket.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    if (rest.length > 100) socket.destroy()
    for (const line of lines) take(line)
  })
}
