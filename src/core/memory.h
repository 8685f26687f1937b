// What the process takes of the machine's memory.
#pragma once

namespace segrid {

double resident_mb();
double peak_resident_mb();
// Gives pages that are free back to the system, which the C library would keep for later: a
// millisecond or two.
void give_back_memory();

}  // namespace segrid
