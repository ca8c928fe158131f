// One target's kernels, in the order of kernels.list. This file and kernels/*.cpp are compiled once for each target.
#include "kernels.h"

namespace pellucid::lanes::PELLUCID_ISA {

#define KERNEL(function, name, arguments) void function(const void*, const PellucidUnits*);
#include "kernels.list"
#undef KERNEL

extern const PellucidKernel kKernels[];
constinit const PellucidKernel kKernels[] = {
#define KERNEL(function, name, arguments) function,
#include "kernels.list"
#undef KERNEL
};

}  // namespace pellucid::lanes::PELLUCID_ISA
