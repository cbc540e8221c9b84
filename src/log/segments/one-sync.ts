/**
 * Lets no two fdatasyncs of a runtime run at the same time, whoever asks for them: a round, a file that is full, a close.
 * Each of them occupies a thread of libuv for as long as the disk takes, and there are four for everyone.
 */
import type { Files, OpenFile } from "../../files.js";

export function oneSyncAtATime(files: Files): Files {
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = (sync: () => Promise<void>): Promise<void> => {
    const syncing = last.then(sync);
    last = syncing.catch(() => undefined); // whoever asked hears of it
    return syncing;
  };
  const wrap = (file: OpenFile): OpenFile => ({
    write: (bytes, position) => file.write(bytes, position),
    writeNow: (bytes, position) => file.writeNow(bytes, position),
    read: (into, position) => file.read(into, position),
    sync: () => inTurn(() => file.sync()),
    close: () => file.close(),
  });
  return {
    makeFolder: (folder) => files.makeFolder(folder),
    list: (folder) => files.list(folder),
    size: (path) => files.size(path),
    create: async (path) => wrap(await files.create(path)),
    createNow: (path) => wrap(files.createNow(path)),
    makeFolderNow: (folder) => files.makeFolderNow(folder),
    open: async (path) => wrap(await files.open(path)),
    remove: (path) => files.remove(path),
    removeFolder: (folder) => files.removeFolder(folder),
    syncFolder: (folder) => inTurn(() => files.syncFolder(folder)),
    ...(files.syncFolderNow === undefined ? {} : { syncFolderNow: (folder) => files.syncFolderNow!(folder) }),
    ...(files.room === undefined ? {} : { room: (folder) => files.room!(folder) }),
  };
}
