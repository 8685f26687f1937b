// How much memory the process uses.
#pragma once

namespace segrid {

// Megabytes of 10^6 bytes, now and at most so far.
double resident_mb();
double peak_resident_mb();
// Gives free pages, which the C library would keep for later, back to the system. Takes a
// millisecond or two.
void give_back_memory();

}  // namespace segrid
