// Run by the doctor in a network namespace made for it: 0 where this kernel and this libnftables can have tables with an
// owner that persist, 3 where they cannot. Tried by the same code that heart uses; nothing is made (kernel/tables.ts).

import { ExitCode } from "../base/errors.ts";
import { OwnTables } from "../kernel/tables.ts";

process.exit(new OwnTables("netdev").areOwned ? ExitCode.Ok : ExitCode.NotPossible);
