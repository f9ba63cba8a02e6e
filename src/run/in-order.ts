/** Runs jobs in order, at most `width` at a time; the first failure stops the rest and waits for those under way. */
export async function inOrder(work: Iterable<() => Promise<unknown>>, width: number, signal?: AbortSignal): Promise<void> {
  const running = new Set<Promise<unknown>>();
  let failure: { error: unknown } | undefined;
  for (const job of work) {
    if (failure || signal?.aborted) break;
    const started = job().catch((error: unknown) => {
      failure ??= { error };
    });
    running.add(started);
    started.finally(() => running.delete(started));
    if (running.size >= width) await Promise.race(running);
  }
  await Promise.all(running);
  if (failure) throw failure.error;
  signal?.throwIfAborted();
}
