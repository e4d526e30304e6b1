// What the command line takes where nothing is said. Apart from the commands that use it, so that `--help` can
// name it without loading them.

export const DEFAULT_NODE_FILE = "/etc/understudy/node.yaml";
export const DEFAULT_RUNTIME_DIRECTORY = "/run/understudy";
export const DEFAULT_STATE_DIRECTORY = "/var/lib/understudy";
/** Written into the working directory, as the node's file beside it names it. */
export const DEFAULT_KEY_FILE = "node.key";
export const SESSIONS_SHOWN_DEFAULT = 50;
